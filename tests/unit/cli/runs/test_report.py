"""A run's page, and the comparison of two runs."""

from html.parser import HTMLParser
from pathlib import Path

import pytest

from llmops_kit.cli.platforms.local.platform import LocalPlatform
from llmops_kit.cli.runs.report import run_report
from llmops_kit.cli.runs.run_page import html
from llmops_kit.cli.runs.runs import collect, find_run
from llmops_kit.core.errors import RunError
from tests.support.tiny_models.versions import write_output
from tests.unit.cli.runs.test_runs import (
    MakeImage,
    deploy,
    folder_of,
    start,
    wait_until,
    write_recipe,
)

_TRAIN = """
import os, time
from pathlib import Path
while not (Path(os.environ["LLMOPS_ROOT"]) / "opt/ml/model/manifest.json").exists():
    time.sleep(0.02)
"""


def run_to_its_end(platform: LocalPlatform, recipe: Path, right: bool = True) -> str:
    run = start(platform, recipe)
    spec = find_run(platform, run).spec
    write_output(folder_of(platform, run) / "root/opt/ml/model", spec, platform.store(), right=right)
    wait_until(lambda: find_run(platform, run).state.status != "running")
    collect(platform, find_run(platform, run), lambda _: None)
    return run


def test_a_page_shows_scores_curves_data_and_answers_and_loads_nothing(tmp_path: Path, make_image: MakeImage) -> None:
    platform = deploy(tmp_path, make_image(_TRAIN))
    recipe = write_recipe(tmp_path)
    held_out = tmp_path / "held-out.jsonl"
    held_out.write_text(held_out.read_text().replace("Tell me 7?", "Tell me <script>alert(7)</script>?"))
    report = run_report(platform, find_run(platform, run_to_its_end(platform, recipe, right=False)))
    assert report.curves["validation_loss"] == [(3, 1.25)]
    assert report.curves["loss"] == [(1, 4.0), (2, 2.0), (3, pytest.approx(4 / 3))]
    (suite,) = report.suites
    assert (suite.result.after.value, len(suite.rows), suite.rows[0].reference) == (0.0, 32, "It is alpha0.")
    page = html(report)
    assert "<h3>Speed</h3>" in page
    assert "<h3>Memory</h3>" in page
    assert "<h3>Learning rate</h3>" in page
    tags = _Tags()
    tags.feed(page)
    assert not {"script", "img", "link", "iframe", "object"} & tags.names
    assert not {"src", "href", "onerror", "onclick"} & tags.attributes
    assert "&lt;script&gt;" in page
    assert tags.rows >= 32 + 2


def test_a_run_without_a_version_has_no_page(tmp_path: Path, make_image: MakeImage) -> None:
    platform = deploy(tmp_path, make_image(_TRAIN))
    run = start(platform, write_recipe(tmp_path))
    with pytest.raises(RunError):
        run_report(platform, find_run(platform, run))
    platform.stop(run)


class _Tags(HTMLParser):
    """What a page is made of."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.rows = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.rows += tag == "tr"
