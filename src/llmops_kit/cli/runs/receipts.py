"""Checks a run's output before it is signed: compares the manifest, which the job wrote, with the submitted spec.

Lineage, name and defaults come from the spec, licence from the base model, scores, gate and golden prompts from the
answers to each row and the stored dataset. Left to the job are its own measurements (`training`, `created`,
metrics.jsonl, of which only the form is checked), and that
the answers are the model's: the image decides that, and a server asks the golden prompts again before it is ready.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llmops_kit.cli.store.store import Store
from llmops_kit.cli.store.versions import Version
from llmops_kit.core.documents.dataset import DatasetManifest, FileEntry
from llmops_kit.core.documents.evaluation import EvaluationAnswers
from llmops_kit.core.documents.model import Lineage, ModelManifest
from llmops_kit.core.documents.run import Pinned, RunSpec
from llmops_kit.core.documents.training_metrics import StepMetrics, parse_metrics
from llmops_kit.core.errors import DocumentError, IntegrityError, KitError
from llmops_kit.core.hashes import sha256_bytes, sha256_file
from llmops_kit.core.integrity.digest import check_folder
from llmops_kit.core.layout import EVALUATION, MANIFEST, METRICS, MODEL_CARD
from llmops_kit.training.evaluation.scoring import assess, load_suites
from llmops_kit.training.models.model_card import model_card

_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_FIX = (
    "nothing of this run was signed or stored. The job, or another writer of the runs' folder, changed its output: "
    "find out which, then `llmops train RECIPE --again`"
)
_OLDER_KIT = (
    "it was made by an image of an older kit: `llmops up` deploys the present one, then `llmops train RECIPE --again`"
)


def check_output(version: Version, spec: RunSpec, store: Store) -> str:
    """Compares the output of a run's job with the submitted spec.

    Args:
        version: a complete model version, unsigned; its weights are not read here.
        spec: as submitted, from where the job can't write.
        store: has the run's dataset and base model.

    Returns:
        The identity of the checked version: the manifest's sha256.

    Raises:
        IntegrityError: naming the first field or metric that differs.
    """
    content = version.manifest()
    where = f"run {spec.id}: {MANIFEST}"
    manifest = ModelManifest.parse(content, where=where)
    if f'"schema": "{ModelManifest.SCHEMA}"'.encode() not in content:
        raise IntegrityError(f"is older than {ModelManifest.SCHEMA}", where=f"{where}: schema", fix=_OLDER_KIT)
    base = store.manifest(store.require_identity(spec.base_model.name, spec.base_model.sha256))
    _compare(manifest, _submitted(spec, base.licence) | {"engines": _engines(manifest)}, where)
    dataset = checked_dataset(store, spec.dataset)
    suites = load_suites(spec.recipe.evaluation.suites, dataset)
    verdict = assess(spec.recipe, suites, read_answers(version, manifest, where), None)
    _compare(manifest, {"evaluation": verdict.evaluation, "gate": verdict.gate, "golden": verdict.golden}, where)
    read_metrics(version, manifest)
    if manifest.training is None and spec.trainer is None:
        raise IntegrityError("has no facts of the training", where=f"{where}: training", fix=_FIX)
    data = DatasetManifest.load(dataset / MANIFEST)
    card = model_card(spec.recipe, base, data, verdict.evaluation, verdict.gate, manifest.training).encode()
    if manifest.files.get(MODEL_CARD) != FileEntry(sha256=sha256_bytes(card), size=len(card)):
        raise IntegrityError("is not the model card of the submitted run", where=f"{where}: {MODEL_CARD}", fix=_FIX)
    return sha256_bytes(content)


def _submitted(spec: RunSpec, licence: str) -> dict[str, Any]:
    """Return the manifest fields that are fixed by the submitted run."""
    return {
        "name": spec.recipe.name,
        "lineage": Lineage.of_run(spec, spec.id),
        "serving": spec.recipe.serving,
        "page": spec.recipe.page,
        "licence": licence,
        "evaluated": spec.recipe.evaluation,
    }


def _engines(manifest: ModelManifest) -> list[str]:
    """Return the engines that can load the present files."""
    has_openvino = any(name.startswith("openvino/") for name in manifest.files)
    return ["openvino", "transformers"] if has_openvino else ["transformers"]


def _compare(manifest: ModelManifest, expected: dict[str, Any], where: str) -> None:
    for field, value in expected.items():
        for path, found, wanted in _differences(field, _plain(getattr(manifest, field)), _plain(value)):
            raise IntegrityError(
                f"is {found!r:.200}; the submitted run requires {wanted!r:.200}", where=f"{where}: {path}", fix=_FIX
            )
    if not _MOMENT.fullmatch(manifest.created):
        raise IntegrityError(
            f"is {manifest.created!r}, which is not a UTC time such as 2026-01-31T12:00:00Z",
            where=f"{where}: created",
            fix=_FIX,
        )


def _differences(path: str, found: Any, wanted: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yields the deepest places where two documents differ; items of lists are matched by `suite` if they have one."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in sorted(found.keys() | wanted.keys()):
            yield from _differences(f"{path}.{key}", found.get(key), wanted.get(key))
    elif isinstance(found, list) and isinstance(wanted, list) and len(found) == len(wanted):
        for number, (each, other) in enumerate(zip(found, wanted, strict=True)):
            name = other.get("suite", number) if isinstance(other, dict) else number
            yield from _differences(f"{path}.{name}", each, other)
    elif found != wanted:
        yield path, found, wanted


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else value


def read_answers(version: Version, manifest: ModelManifest, where: str) -> EvaluationAnswers:
    """Returns the answers that the manifest lists; the bytes that are hashed are the ones that are parsed."""
    entry = manifest.files.get(EVALUATION)
    if entry is None:
        raise IntegrityError(
            f"lists no {EVALUATION}, so its gate can't be checked",
            where=f"{where}: files",
            fix=_OLDER_KIT,
        )
    content = version.document(EVALUATION, entry)
    return EvaluationAnswers.parse(content.decode(errors="replace"), where=f"{version.where}/{EVALUATION}")


def read_metrics(version: Version, manifest: ModelManifest) -> list[StepMetrics]:
    """Returns the measurements at each step of a version's training; none if there are none, as after an import.

    Raises:
        IntegrityError: the file differs from the manifest, or is not a list of steps; with the line.
    """
    if (entry := manifest.files.get(METRICS)) is None:
        return []
    try:
        return parse_metrics(version.document(METRICS, entry), f"{version.where}/{METRICS}")
    except DocumentError as e:
        raise IntegrityError(e.what, where=e.where, fix=_FIX) from None


def checked_dataset(store: Store, pinned: Pinned) -> Path:
    """Returns the folder of a dataset version, checked."""
    folder = store.dataset_folder(pinned.sha256)
    where = str(folder / MANIFEST)
    if sha256_file(folder / MANIFEST) != pinned.sha256:
        raise KitError("was changed in the store", where=where, fix="prepare the dataset again: `llmops train RECIPE`")
    check_folder(folder, DatasetManifest.load(folder / MANIFEST).files)
    return folder
