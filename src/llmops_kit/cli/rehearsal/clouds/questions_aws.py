"""Answers the questions of questions_aws.toml from a smoke test's steps."""

from llmops_kit.cli.rehearsal.lifecycle.shared import ENDPOINT
from llmops_kit.cli.rehearsal.questions import CloudAnswer, load_questions
from llmops_kit.cli.rehearsal.stage import Stage


def _registered(stage: Stage) -> CloudAnswer | str:
    missing = stage.notes.get("unregistered", [])
    if missing:
        return CloudAnswer(f"{', '.join(missing)}: stored, and refused by the model package group", as_assumed=False)
    return f"{stage.notes['version']} is in the model package group"


def _alarm(stage: Stage) -> str:
    return f"the alarm undid the update, and `rollback && up` brought {stage.notes['version']} back, not rejected"


def _quality(stage: Stage) -> str:
    seen = len({at for at, score, _ in stage.timeline.quality if score < 1})
    return f"the update was undone by its quality; {seen} samples of the worse version were in the log by then"


def _log(stage: Stage) -> CloudAnswer | str:
    lines = sum(1 for _ in stage.platform().follow(stage.notes["run"]))
    return f"{lines} lines were read" if lines else CloudAnswer("the job's log was empty", as_assumed=False)


def _update(stage: Stage) -> str:
    ready = stage.endpoint_row(ENDPOINT)["state"]
    return f"the endpoint was updated in place, and is {ready}"


QUESTIONS = load_questions(
    "aws", {"alarm": _alarm, "log": _log, "quality": _quality, "registered": _registered, "update": _update}
)
