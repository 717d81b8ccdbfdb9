"""Finds verdicts on answers by the scorer that a suite names: a judge, a COMET model or a program."""

from llmops_kit.cli.interfaces.platform import Platform, Say
from llmops_kit.cli.judging.comet import comet_verdicts
from llmops_kit.cli.judging.judging import JudgedAnswers, ask_judge
from llmops_kit.cli.judging.programs import program_verdicts
from llmops_kit.core.documents.judgements import JudgeVerdict
from llmops_kit.training.evaluation.judging import Verdicts


def find_verdicts(platform: Platform, judged: JudgedAnswers, recorded: Verdicts, say: Say) -> dict[str, JudgeVerdict]:
    """Returns the verdicts on two models' answers to a suite.

    Args:
        platform: the stack in operation.
        judged: the answers.
        recorded: verdicts stored with a version.
        say: called with progress.

    Raises:
        KitError: the judge can't be reached, the COMET model or the program can't score, or it gives scores outside of
            0 to 1.
        IntegrityError: the COMET model was changed.
    """
    if judged.suite.program:
        return program_verdicts(judged, recorded, say)
    if judged.suite.comet:
        return comet_verdicts(platform, judged.suite.comet, judged, recorded, say)
    return ask_judge(judged, recorded, say)
