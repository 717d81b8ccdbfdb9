"""Judges a run's answers to suites `judge`, `comet` and `program` when it is collected, before the gate is decided and
the version is signed.

A job has no network, so its manifest leaves these suites out. Its output is checked first, unchanged; then the caller
writes a new manifest, judgements and model card.
"""

from collections.abc import Mapping

from llmops_kit.cli.interfaces.platform import Platform, Say
from llmops_kit.cli.judging.judging import JudgedAnswers
from llmops_kit.cli.judging.verdicts import find_verdicts
from llmops_kit.cli.runs.receipts import checked_dataset, read_answers
from llmops_kit.cli.store.versions import Version
from llmops_kit.core.documents.dataset import DatasetManifest, FileEntry
from llmops_kit.core.documents.judgements import Judgements, JudgeVerdict
from llmops_kit.core.documents.model import ModelManifest
from llmops_kit.core.documents.run import RunSpec
from llmops_kit.core.errors import IntegrityError
from llmops_kit.core.hashes import sha256_bytes
from llmops_kit.core.layout import JUDGEMENTS, MANIFEST, MODEL_CARD
from llmops_kit.training.evaluation.scoring import assess, load_suites
from llmops_kit.training.models.model_card import model_card


def judged_files(version: Version, checked: str, spec: RunSpec, platform: Platform, say: Say) -> dict[str, bytes]:
    """Ask the judges and COMET models of a run's recipe about its answers.

    Args:
        version: the output of its job.
        checked: the identity that `check_output` returned.
        spec: as submitted.
        platform: its store has the run's dataset and base model.
        say: called with progress.

    Returns:
        Files to write over the version's own, including the manifest; none if the recipe has no judge.

    Raises:
        KitError: a judge can't be asked, or a model can't be run; verdicts so far are kept.
        IntegrityError: the version was changed after it was checked.
    """
    judged = [suite for suite in spec.recipe.evaluation.suites if suite.judged]
    if not judged:
        return {}
    store = platform.store()
    content, where = version.manifest(), f"{version.where}/{MANIFEST}"
    if sha256_bytes(content) != checked:
        raise IntegrityError("was changed after it was checked", where=where, fix="find out what else writes there")
    manifest = ModelManifest.parse(content, where=where)
    answers, dataset = read_answers(version, manifest, where), checked_dataset(store, spec.dataset)
    suites = load_suites(spec.recipe.evaluation.suites, dataset)
    given = {each.suite: each.rows for each in answers.suites}
    verdicts: dict[str, JudgeVerdict] = {}
    for suite in judged:
        before, after = ([getattr(row, when) for row in given[suite.name]] for when in ("before", "after"))
        verdicts |= find_verdicts(platform, JudgedAnswers(suite, suites[suite.name], before, after), verdicts, say)
    found = assess(spec.recipe, suites, answers, verdicts)
    base = store.manifest(store.require_identity(spec.base_model.name, spec.base_model.sha256))
    data = DatasetManifest.load(dataset / MANIFEST)
    files = {
        JUDGEMENTS: Judgements.new(verdicts=dict(sorted(verdicts.items()))).to_json().encode(),
        MODEL_CARD: model_card(spec.recipe, base, data, found.evaluation, found.gate, manifest.training).encode(),
    }
    entries = {name: FileEntry(sha256=sha256_bytes(data), size=len(data)) for name, data in files.items()}
    written = manifest.model_copy(
        update={"evaluation": found.evaluation, "gate": found.gate, "files": {**manifest.files, **entries}}
    )
    return {**files, MANIFEST: written.to_json().encode()}


def read_judgements(version: Version, manifest: ModelManifest, where: str) -> Mapping[str, JudgeVerdict]:
    """Returns the verdicts that a version lists; none if its suites have no judge."""
    if not (manifest.evaluated and any(suite.judged for suite in manifest.evaluated.suites)):
        return {}
    if (entry := manifest.files.get(JUDGEMENTS)) is None:
        return {}
    content = version.document(JUDGEMENTS, entry)
    return Judgements.parse(content.decode(errors="replace"), where=f"{where}: {JUDGEMENTS}").verdicts
