"""Model versions of two small files, for tests that look at stores and not into models."""

from pathlib import Path

from contract.documents.evaluation import GoldenAnswer
from contract.documents.model import Golden, Lineage, Message, ModelManifest
from contract.documents.run import RunSpec
from contract.integrity.digest import file_entries
from contract.integrity.verified_model import VerifiedVersion
from contract.layout import EVALUATION
from training.scoring import judge, load_suite, record, row_id, to_ask_again


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


def write_output(folder: Path, spec: RunSpec, dataset: Path, licence: str = "") -> None:
    """What an honest job leaves of a run: every answer after training is right, and none before it."""
    rows = {suite.name: load_suite(suite, dataset) for suite in spec.recipe.evaluation.suites}
    golden = [
        GoldenAnswer(suite=name, row=row_id(row), answer=row.answer)
        for name, asked in rows.items()
        for row in to_ask_again(asked, [True] * len(asked))
    ]
    before = {name: ["I do not know."] * len(asked) for name, asked in rows.items()}
    after = {name: [row.answer for row in asked] for name, asked in rows.items()}
    answers = record(rows, before, after, golden)
    verdict = judge(spec.recipe, dataset, answers)
    (folder / "openvino").mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").write_text(f"weights of {spec.id}")
    (folder / "openvino" / "openvino_model.xml").write_text("<net/>")
    answers.write(folder / EVALUATION)
    ModelManifest.new(
        name=spec.recipe.name,
        created="2026-11-25T12:00:00Z",
        licence=licence,
        engines=["openvino", "transformers"],
        dtype="BF16",
        files=file_entries(folder),
        lineage=Lineage.of_run(spec, spec.id),
        evaluation=verdict.evaluation,
        gate=verdict.gate,
        golden=verdict.golden,
        serving=spec.recipe.serving,
    ).write(folder / "manifest.json")


def open_verified(folder: Path, public_key: str, expected_sha256: str = "") -> ModelManifest:
    """Return a version's manifest once its signature, its identity and every file were verified."""
    version = VerifiedVersion.open(folder, public_key, expected_sha256)
    version.close()
    return version.manifest
