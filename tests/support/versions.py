"""Model versions of two small files, for tests that look at stores and not into models."""

from pathlib import Path

from contract.digest import file_entries
from contract.model import Golden, Lineage, Message, ModelManifest


def write_version(folder: Path, name: str, weights: str, passed: bool | None, run: str) -> None:
    """A model version of two files."""
    (folder / "openvino").mkdir(parents=True)
    (folder / "model.safetensors").write_text(weights)
    (folder / "openvino" / "openvino_model.xml").write_text("<net/>")
    gate = None if passed is None else {"passed": passed, "reasons": ["new-phrasings 0.10 < 0.80"]}
    ModelManifest.new(
        name=name,
        created="2026-11-25T12:00:00Z",
        engines=["openvino"],
        dtype="BF16",
        files=file_entries(folder),
        lineage=Lineage(run=run),
        gate=gate,
        golden=[Golden(messages=[Message(role="user", content="hi")], expect=[])],
    ).write(folder / "manifest.json")
