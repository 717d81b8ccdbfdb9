"""Requests verdicts from the judges of suites `judge`; caches replies by request, so that none is paid for twice."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from llmops_kit.cli.interfaces.platform import Say
from llmops_kit.cli.judging.asking import ask_patiently, at_once, reply_message
from llmops_kit.core.documents.evaluation import Answer
from llmops_kit.core.documents.judgements import JudgeVerdict
from llmops_kit.core.documents.recipe_evaluation import Judge, Suite
from llmops_kit.core.errors import IntegrityError, KitError
from llmops_kit.core.layout import cache_dir
from llmops_kit.core.object_keys import shown
from llmops_kit.training.checkpoints import once, unsealed
from llmops_kit.training.evaluation.judging import JudgeRequest, Verdicts, judge_of, judge_requests, read_verdict
from llmops_kit.training.evaluation.scorers import SuiteRow

_TRIES = 2  # if a reply is unreadable
_UNREADABLE = 0.05
"""Maximum share of unreadable replies, beyond which the suite fails."""
_FIX = "check the judge's `key` (the variable with its API key), `model` and `parameters`"


class JudgedAnswers(NamedTuple):
    """Two models' answers to a suite `judge` or `comet`."""

    suite: Suite
    rows: Sequence[SuiteRow]
    before: Sequence[Answer]
    after: Sequence[Answer]

    def requests(self) -> list[JudgeRequest]:
        """Returns the distinct requests to the judge; equal ones are sent once."""
        return judge_requests(self.suite, self.rows, self.before, self.after)


def require_keys(suites: Iterable[Suite]) -> None:
    """Checks that the environment variables of the judges' keys are set.

    Raises:
        KitError: one is not; names the first.
    """
    for suite in suites:
        if suite.judge:
            _key_of(suite.judge, suite.name)


def known_verdicts(judged: JudgedAnswers, recorded: Verdicts) -> dict[str, JudgeVerdict]:
    """Returns the verdicts that need no request: recorded ones, and those kept on this machine."""
    found = {}
    for request in judged.requests():
        if verdict := recorded.get(request.key) or _kept(request):
            found[request.key] = verdict
    return found


def keep_verdict(request: JudgeRequest, verdict: JudgeVerdict) -> None:
    """Caches a verdict on this machine, so that it is not requested again."""
    once(_file(request), verdict.model_dump)


def ask_judge(judged: JudgedAnswers, recorded: Verdicts, say: Say) -> dict[str, JudgeVerdict]:
    """Returns the verdicts on two models' answers; requests unknown ones, and keeps them as they arrive.

    Args:
        judged: the answers.
        recorded: verdicts stored with a version.
        say: called with progress and the number of tokens.

    Raises:
        KitError: there is no key, the server can't be reached, or more than 5 % of its replies are unreadable.
    """
    suite, judge = judged.suite, judge_of(judged.suite)
    requests, found = judged.requests(), known_verdicts(judged, recorded)
    missing = [request for request in requests if request.key not in found]
    if not missing:
        return found
    key, unreadable = _key_of(judge, suite.name), list[str]()

    def verdict(request: JudgeRequest) -> JudgeVerdict:
        given, text = _ask(judge, key, request, say)
        if given.readable:
            keep_verdict(request, given)
        else:
            unreadable.append(text)
        return given

    say(f"{suite.name}: judge {judge.model} at {judge.url}: {len(missing)} requests, {len(found)} known already")
    for asked, (request, given) in enumerate(zip(missing, at_once(verdict, missing), strict=True), start=1):
        found[request.key] = given
        if asked % 32 == 0 or asked == len(missing):
            say(f"{suite.name}: judged={asked} of={len(missing)}")
    new = [found[request.key] for request in missing]
    tokens = sum(each.prompt_tokens for each in new), sum(each.completion_tokens for each in new)
    say(f"{suite.name}: judge {judge.model} took {tokens[0]} prompt and {tokens[1]} completion tokens")
    if len(unreadable) > _UNREADABLE * len(requests):
        raise KitError(
            f"{len(unreadable)} of {len(requests)} replies are not the requested JSON, such as "
            f"{shown(unreadable[0][:200])}",
            where=f"suite {suite.name}: judge {judge.model}",
            fix="use a model that follows the format, or give it more tokens: `parameters: {max_tokens: …}`",
        )
    return found


def _ask(judge: Judge, key: str, request: JudgeRequest, say: Say) -> tuple[JudgeVerdict, str]:
    """Returns the reply to a request with its text; repeats it if the reply is unreadable. Tokens include all tries."""
    prompt = completion = 0
    given, text = JudgeVerdict(), ""
    url = judge.url.rstrip("/").removesuffix("/v1")
    for _ in range(_TRIES):
        reply = ask_patiently(url, key, request.body, _FIX, say)
        usage = reply.get("usage")
        prompt += _count(usage, "prompt_tokens")
        completion += _count(usage, "completion_tokens")
        text = str(reply_message(reply, judge.url).get("content") or "")
        given = read_verdict(judge, text)
        if given.readable:
            break
    return given.model_copy(update={"prompt_tokens": prompt, "completion_tokens": completion}), text


def _count(usage: object, name: str) -> int:
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31 else 0


def _key_of(judge: Judge, suite: str) -> str:
    if not judge.key:
        return ""
    if key := os.environ.get(judge.key, "").strip():
        return key
    raise KitError(
        f"${judge.key} is not set, which holds the key of judge {judge.model}",
        where=f"suite {suite}: judge.key",
        fix=f"export {judge.key}, then repeat the command: it resumes",
    )


def _kept(request: JudgeRequest) -> JudgeVerdict | None:
    try:
        return JudgeVerdict.model_validate(unsealed(_file(request)))
    except (OSError, IntegrityError, ValidationError):
        return None


def _file(request: JudgeRequest) -> Path:
    return cache_dir() / "verdicts" / request.key[:2] / f"{request.key}.json"
