"""Answers questions from the steps of a smoke test."""

import re
from collections.abc import Iterable

from llmops_kit.cli.rehearsal.questions import CloudAnswer, Question
from llmops_kit.cli.rehearsal.stage import Stage
from llmops_kit.cli.rehearsal.steps import Result
from llmops_kit.core.errors import KitError


def answers(questions: Iterable[Question], stage: Stage, result: Result) -> dict[str, dict[str, str]]:
    """Returns the answers that a finished step gives, by question."""
    found = {}
    for question in questions:
        if question.step == result.step.id and (answer := _answer(question, stage, result)):
            found[question.id] = {"state": "as assumed" if answer.as_assumed else "otherwise", "did": answer.did}
    return found


def _answer(question: Question, stage: Stage, result: Result) -> CloudAnswer | None:
    if result.state == "failed" and result.error:
        said = str(result.error)
        match = re.search(question.otherwise, said, re.IGNORECASE) if question.otherwise else None
        return CloudAnswer(_line_of(said, match), as_assumed=False) if match else None
    if result.state != "passed" or question.look is None:
        return None
    try:
        answer = question.look(stage)
    except Exception as e:  # the step has passed, so the smoke test continues
        stage.say(f"{question.id}: can't be answered: {e.what if isinstance(e, KitError) else e!r}")
        return None
    return CloudAnswer(answer) if isinstance(answer, str) else answer


def _line_of(text: str, match: "re.Match[str]") -> str:
    """Returns the line that contains a match."""
    end = text.find("\n", match.end())
    return text[text.rfind("\n", 0, match.start()) + 1 : end if end >= 0 else len(text)].strip()
