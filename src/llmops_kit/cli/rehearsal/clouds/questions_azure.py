"""Answers the questions of questions_azure.toml from a smoke test's steps."""

from llmops_kit.cli.rehearsal.lifecycle.shared import ENDPOINT
from llmops_kit.cli.rehearsal.questions import CloudAnswer, load_questions
from llmops_kit.cli.rehearsal.stage import Stage
from llmops_kit.core.errors import KitError


def _log(stage: Stage) -> CloudAnswer | str:
    lines = sum(1 for _ in stage.platform().follow(stage.notes["run"]))
    return f"the job's log was read, {lines} lines" if lines else CloudAnswer("the log was empty", as_assumed=False)


def _serves(stage: Stage) -> str:
    return f"the endpoint pulled its image and read its model, and is {stage.endpoint_row(ENDPOINT)['state']}"


def _budget(stage: Stage) -> CloudAnswer | str:
    azure = stage.outputs().azure
    group = azure.resource_group if azure else ""
    budgets = [t for t in stage.cloud.held() if t.startswith("budget ") and group.lower() in t]
    if budgets:
        return "the offer supports budgets: one was created"
    return CloudAnswer("the offer has no budgets: `up` continued without one", as_assumed=False)


def _pages(stage: Stage) -> CloudAnswer | str:
    link = stage.cloud.next_link()
    if not link:
        raise KitError("the subscription's resources fit on one page")
    if link.startswith("https://management.azure.com:443/"):
        return CloudAnswer("links to a next page name the port, :443", as_assumed=False)
    return "links to a next page name no port"


QUESTIONS = load_questions("azure", {"budget": _budget, "log": _log, "pages": _pages, "serves": _serves})
