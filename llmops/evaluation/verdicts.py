"""Verdicts on answers, by whatever a suite names: a judge, a COMET model or a program."""

from contract.documents.judgements import JudgeVerdict
from llmops.evaluation.comet import comet_verdicts
from llmops.evaluation.judging import JudgedAnswers, ask_judge
from llmops.evaluation.programs import program_verdicts
from llmops.platforms.platform import Platform, Say
from training.evaluation.judging import Verdicts


def find_verdicts(platform: Platform, judged: JudgedAnswers, recorded: Verdicts, say: Say) -> dict[str, JudgeVerdict]:
    """Returns the verdicts on two models' answers to a suite.

    Args:
        platform: the stack in operation.
        judged: the answers.
        recorded: verdicts stored with a version.
        say: called with progress.

    Raises:
        KitError: the judge can't be asked, the COMET model or the program can't score, or it gives scores outside of 0
            to 1.
        IntegrityError: the COMET model was changed.
    """
    if judged.suite.program:
        return program_verdicts(judged, recorded, say)
    if judged.suite.comet:
        return comet_verdicts(platform, judged.suite.comet, judged, recorded, say)
    return ask_judge(judged, recorded, say)
