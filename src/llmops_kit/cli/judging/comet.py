"""Suites `comet`: a COMET model of the stack's store scores translations, in the training image, on this machine.

Scores are cached by model and sentences, like a judge's replies.
"""

import json
import tempfile
from pathlib import Path

from pydantic import FiniteFloat, TypeAdapter

from llmops_kit.cli.images.image_program import run_in_image
from llmops_kit.cli.interfaces.platform import Platform, Say
from llmops_kit.cli.judging.judging import JudgedAnswers, keep_verdict, known_verdicts
from llmops_kit.core.documents.judgements import JudgeVerdict
from llmops_kit.core.documents.recipe_evaluation import CometScorer, Evaluation
from llmops_kit.core.errors import KitError
from llmops_kit.core.names import parse_promoted
from llmops_kit.training.evaluation.judging import JudgeRequest, Verdicts

_SCORES = TypeAdapter(list[FiniteFloat])
_OUTSIDE = 0.05
"""Maximum share of scores outside of 0 to 1; a model that exceeds it returns z-scores or similar."""


def pin_scorers(platform: Platform, evaluation: Evaluation) -> Evaluation:
    """Returns an evaluation whose suites name their COMET models with identity, after checking their signatures.

    Raises:
        KitError: a model is not in the store, or not for translation scoring.
        IntegrityError: it was changed, or not signed by this stack.
    """
    store, key = platform.store(), platform.outputs.signing.public_key
    suites = []
    for suite in evaluation.suites:
        if suite.comet:
            ref = store.find(suite.comet.model)
            store.signed_manifest(ref, key).require_task(f"suite {suite.name}: comet.model", "translation-scoring")
            suite = suite.model_copy(update={"comet": CometScorer(model=str(ref))})
        suites.append(suite)
    return evaluation.model_copy(update={"suites": suites})


def comet_verdicts(
    platform: Platform, scorer: CometScorer, judged: JudgedAnswers, recorded: Verdicts, say: Say
) -> dict[str, JudgeVerdict]:
    """Returns the scores of a suite's COMET model for two models' answers.

    Args:
        platform: its store has the model.
        scorer: the model, with identity.
        judged: the answers.
        recorded: verdicts stored with a version.
        say: called with progress.

    Raises:
        KitError: the store lacks the model, or more than 5 % of its scores are outside of 0 to 1.
        IntegrityError: the model was changed.
    """
    requests, found = judged.requests(), known_verdicts(judged, recorded)
    missing = [request for request in requests if request.key not in found]
    if missing:
        say(f"{judged.suite.name}: {scorer.model} scores {len(missing)} translations, {len(found)} known already")
        for request, score in zip(missing, _score(platform, scorer, missing, say), strict=True):
            found[request.key] = JudgeVerdict(score=score)
            keep_verdict(request, found[request.key])
    outside = [each.score for each in found.values() if each.score is None or not 0 <= each.score <= 1]
    if len(outside) > _OUTSIDE * len(found):
        raise KitError(
            f"{len(outside)} of {len(found)} scores are not from 0 to 1, such as {outside[0]}",
            where=f"suite {judged.suite.name}: comet.model: {scorer.model}",
            fix="use a model whose scores are, such as Unbabel/wmt22-comet-da; those of 2020 and 2021 return z-scores",
        )
    return found


def _score(platform: Platform, scorer: CometScorer, requests: list[JudgeRequest], say: Say) -> list[float]:
    """Returns the model's scores, in the order of the requests."""
    store, wanted = platform.store(), parse_promoted(scorer.model)
    ref = store.require_identity(wanted.name, wanted.sha256)
    folder = store.verified_folder(ref, platform.outputs.signing.public_key, say)
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        triples, out = work / "triples.json", work / "scores.json"
        bodies = [request.body for request in requests]
        triples.write_text(json.dumps([[b["source"], b["translation"], b["reference"]] for b in bodies]))
        run_in_image(
            "training",
            *("-m", "llmops_kit.training", "score-translations", folder, triples, out),
            label=ref.alias,
            work=work / "root",
            say=say,
            what=f"scoring by {ref.alias} ended",
        )
        return _SCORES.validate_json(out.read_bytes())
