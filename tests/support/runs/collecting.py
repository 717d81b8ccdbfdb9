"""Collect sources in a test."""

from pathlib import Path
from typing import Any

from llmops_kit.cli.data.collect import Collected, collect
from llmops_kit.cli.data.items import FetchLimits
from llmops_kit.core.documents.collected import RECEIPTS, read_receipts
from llmops_kit.core.documents.recipe_data import DataSource


def collected(recipe_folder: Path, out: Path, *sources: DataSource | str, **limits: Any) -> Collected:
    """What a collect of sources leaves; its receipts are those in the folder, and its files what they say."""
    parsed = [DataSource(source=each) if isinstance(each, str) else each for each in sources]
    found = collect(
        parsed,
        recipe_folder,
        out,
        secret=lambda name: f"value of {name}",
        say=lambda _: None,
        limits=FetchLimits(**limits),
    )
    assert read_receipts(out / RECEIPTS) == found.files
    there = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    assert there == {each.path for each in found.files} | {RECEIPTS, ".lock"}
    for each in found.files:
        assert (out / each.path).stat().st_size == each.bytes
    return found


def contents(found: Collected) -> dict[str, bytes]:
    """Path below its source's folder -> content."""
    return {each.path.partition("/")[2]: (found.folder / each.path).read_bytes() for each in found.files}
