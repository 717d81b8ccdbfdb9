"""The gate's `not_worse_than: production`: decided when a version is promoted, since production may have changed since
training.

It depends on the answers of both versions to the same rows: those recorded by their runs and signed by the stack, or
kept on this machine. Anyone with the store can repeat it with `llmops evaluate A --against B --gate`.
"""

from dataclasses import dataclass

from llmops_kit.cli.evaluation.answers import known_answers
from llmops_kit.cli.evaluation.comparison import compare_models, questions_for, recorded_verdicts
from llmops_kit.cli.evaluation.models import production, stored_model
from llmops_kit.cli.interfaces.platform import Platform
from llmops_kit.cli.judging.judging import JudgedAnswers, known_verdicts
from llmops_kit.core.documents.model import ModelManifest
from llmops_kit.core.documents.recipe_evaluation import GateCheck
from llmops_kit.core.errors import IntegrityError, KitError
from llmops_kit.core.names import ModelRef
from llmops_kit.training.evaluation.scoring import not_worse


@dataclass(frozen=True)
class ProductionVerdict:
    """Whether a version is not worse than production, with each condition in words."""

    passed: bool
    reasons: list[str]
    against: ModelRef | None = None
    """The version in production; None if there is none."""
    fix: str = ""
    """The command that decides it, if answers are missing; empty if it is decided."""


def compare_with_production(
    platform: Platform, ref: ModelRef, manifest: ModelManifest, endpoint: str = ""
) -> ProductionVerdict:
    """Compares a version with the one that an endpoint serves, as its recipe's gate asks; no model runs.

    Args:
        platform: the stack in operation.
        ref: the version.
        manifest: its manifest, whose signature was checked.
        endpoint: the endpoint to deploy to; empty: chosen by the version's name.

    Raises:
        KitError: several endpoints serve its name.
        IntegrityError: answers or rows are not what was signed.
    """
    checks = [check for check in manifest.evaluated.gate if check.not_worse_than] if manifest.evaluated else []
    if not checks:
        return ProductionVerdict(True, [])
    served = production(platform, ref.name, endpoint)
    if served is None:
        return ProductionVerdict(True, ["there is no version in production to be worse than"])
    if served.sha256 == ref.sha256:
        return ProductionVerdict(True, [f"{ref.alias} is in production"], served)
    fix = f"`llmops evaluate {ref.alias} --against {served.alias}` asks both on this machine; then promote it"
    try:
        return _compare(platform, ref, served, checks, fix)
    except IntegrityError:
        raise
    except KitError as e:
        reason = f"{ref.alias} can't be compared with {served.alias}: {e.what}"  # such as a dataset that is not here
        return ProductionVerdict(False, [reason], served, e.fix or fix)


def _compare(
    platform: Platform, ref: ModelRef, served: ModelRef, checks: list[GateCheck], fix: str
) -> ProductionVerdict:
    models = stored_model(platform, ref), stored_model(platform, served)
    suites = list(dict.fromkeys(check.suite for check in checks))
    questions = questions_for(platform, models, None, None, suites)
    answers = {model.name: known_answers(platform.store(), model, questions) for model in models}
    missing = [
        f"{suite}: {model.name} was never asked these rows"
        for model in models
        for suite in suites
        if suite not in answers[model.name].texts
    ]
    if missing:
        return ProductionVerdict(False, missing, served, fix)
    recorded = recorded_verdicts(platform, models)
    first, second = (answers[model.name].texts for model in reversed(models))
    judged = [
        JudgedAnswers(suite, questions.rows[suite.name], first[suite.name], second[suite.name])
        for suite in questions.suites
        if suite.judged
    ]
    missing = [
        f"{each.suite.name}: its judge was not asked about both"
        for each in judged
        if len(known_verdicts(each, recorded)) < len(each.requests())
    ]
    if missing:
        return ProductionVerdict(False, missing, served, fix)
    comparison = compare_models(
        models, questions, lambda model: answers[model.name], lambda each: known_verdicts(each, recorded)
    )
    gains = {each.result.suite: each.result.gain for each in comparison.suites}
    held = [not_worse(check, gain) for check in checks if (gain := gains[check.suite])]
    return ProductionVerdict(
        all(holds for holds, _ in held), [f"{words} (against {served.alias})" for _, words in held], served
    )
