"""Model versions of two small files, for tests that look at stores and not into models."""

from pathlib import Path

from llmops_kit.cli.store.store import Store
from llmops_kit.core.documents.dataset import DatasetManifest
from llmops_kit.core.documents.evaluation import GoldenAnswer
from llmops_kit.core.documents.model import Golden, Lineage, Message, ModelManifest, TrainingFacts
from llmops_kit.core.documents.recipe_evaluation import LIKELIHOOD
from llmops_kit.core.documents.run import RunSpec
from llmops_kit.core.documents.training_metrics import StepMetrics, metrics_text
from llmops_kit.core.integrity.digest import file_entries
from llmops_kit.core.integrity.verified_model import VerifiedVersion
from llmops_kit.core.layout import EVALUATION, MANIFEST, METRICS, MODEL_CARD
from llmops_kit.training.evaluation.scoring import assess, load_suites, record, to_ask_again
from llmops_kit.training.models.model_card import model_card

_UNKNOWN = "I do not know."
STEPS = [
    StepMetrics(
        step=n,
        time=1_795_000_000 + n,
        seconds=n / 2,
        loss=4 / n,
        validation_loss=1.25 if n == 3 else None,
        learning_rate=1e-3,
        grad_norm=0.5,
        tokens_per_s=60,
        peak_mb=812,
    )
    for n in (1, 2, 3)
]
"""What `write_output` says of each step."""
_LIKELY, _LIKELIER = ({"nats": nats, "tokens": 4} for nats in (8.0, 2.0))


def write_version(
    folder: Path, name: str, weights: str, passed: bool | None, run: str, *, openvino: bool = True
) -> None:
    """A model version of two files, or of one."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").write_text(weights)
    if openvino:
        (folder / "openvino").mkdir()
        (folder / "openvino" / "openvino_model.xml").write_text("<net/>")
    gate = None if passed is None else {"passed": passed, "reasons": ["new-phrasings 0.10 < 0.80"]}
    ModelManifest.new(
        name=name,
        created="2026-11-25T12:00:00Z",
        engines=["openvino"] if openvino else ["transformers"],
        dtype="BF16",
        files=file_entries(folder),
        lineage=Lineage(run=run),
        gate=gate,
        golden=[Golden(messages=[Message(role="user", content="hi")], expect=[])],
    ).write(folder / "manifest.json")


def write_output(folder: Path, spec: RunSpec, store: Store, right: bool = True, wrong: str = _UNKNOWN) -> None:
    """What an honest job leaves of a run: every answer after training is right (or `wrong`), and none before it."""
    dataset = store.dataset_folder(spec.dataset.sha256)
    base = store.manifest(store.require_identity(spec.base_model.name, spec.base_model.sha256))
    rows = load_suites(spec.recipe.evaluation.suites, dataset)
    before, after = {}, {}
    for suite in spec.recipe.evaluation.suites:
        asked = rows[suite.name]
        loss = suite.metric == LIKELIHOOD
        before[suite.name] = [_LIKELY if loss else _UNKNOWN for _ in asked]
        after[suite.name] = [_LIKELIER if loss else each.row.answer if right else wrong for each in asked]
    golden = [
        GoldenAnswer(suite=suite.name, row=asked.id, answer=asked.row.answer)
        for suite in spec.recipe.evaluation.suites
        if suite.metric != LIKELIHOOD
        for asked in to_ask_again(suite, rows[suite.name], after[suite.name])
    ]
    answers = record(rows, before, after, golden)
    verdict = assess(spec.recipe, rows, answers, None)
    (folder / "openvino").mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").write_text(f"weights of {spec.id}")
    (folder / "openvino" / "openvino_model.xml").write_text("<net/>")
    answers.write(folder / EVALUATION)
    (folder / METRICS).write_text(metrics_text(STEPS))
    facts = TrainingFacts(steps=3, tokens=90, seconds=1.5, first_loss=3.0, last_loss=0.5, precision="f32")
    data = DatasetManifest.load(dataset / MANIFEST)
    (folder / MODEL_CARD).write_text(model_card(spec.recipe, base, data, verdict.evaluation, verdict.gate, facts))
    ModelManifest.new(
        name=spec.recipe.name,
        created="2026-11-25T12:00:00Z",
        licence=base.licence,
        engines=["openvino", "transformers"],
        dtype="BF16",
        files=file_entries(folder),
        lineage=Lineage.of_run(spec, spec.id),
        evaluation=verdict.evaluation,
        gate=verdict.gate,
        evaluated=spec.recipe.evaluation,
        training=facts,
        golden=verdict.golden,
        serving=spec.recipe.serving,
        page=spec.recipe.page,
    ).write(folder / "manifest.json")


def open_verified(folder: Path, public_key: str, expected_sha256: str = "") -> ModelManifest:
    """Return a version's manifest once its signature, its identity and every file were verified."""
    version = VerifiedVersion.open(folder, public_key, expected_sha256)
    version.close()
    return version.manifest
