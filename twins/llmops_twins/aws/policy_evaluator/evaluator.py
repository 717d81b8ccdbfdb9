"""The evaluator of IAM policies: one Node process for the twin's lifetime, connected by pipes."""

import contextlib
import hashlib
import json
import subprocess
import threading
from collections import deque
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from llmops_kit.core.errors import KitError
from llmops_twins.aws.policy_evaluator.installation import Installation

END_SECONDS = 5
_MOMENT = ("aws:currenttime", "aws:epochtime")
"""Condition keys that differ with each request; few policies mention them."""
_KEPT_VERDICTS = 5_000  # about 3 kB each


@dataclass(frozen=True)
class PolicyQuestion:
    """Asks whether `principal` may do something. Policies are JSON texts.

    `principal` is an ARN, or a service ("sagemaker.amazonaws.com"), which only resource policies can allow.
    """

    principal: str
    account: str
    action: str
    resource: str
    context: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    identity: tuple[str, ...] = ()
    boundary: str | None = None
    session: str | None = None
    resource_policy: str | None = None


@dataclass(frozen=True)
class PolicyVerdict:
    """The answer. `by` is the kind of policy that denies: identity, resource, session, pb (permissions boundary)."""

    allowed: bool
    by: str = ""
    explicit: bool = False


class Evaluator:
    """Starts its process at once, in the background; the first question waits for it."""

    def __init__(self, installation: Installation) -> None:
        self._process = subprocess.Popen(
            [installation.node, installation.script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=installation.script.parent,
            env={},
            text=True,
            bufsize=1,
            start_new_session=True,  # Ctrl-C in the terminal must reach the twin only, which ends this process
        )
        self._lock = threading.Lock()
        self._sent: set[str] = set()
        self._verdicts: dict[Hashable, PolicyVerdict] = {}
        self._asked = 0
        self._said: deque[str] = deque(maxlen=20)
        self._listener = threading.Thread(target=self._listen, name="evaluator-errors", daemon=True)
        self._listener.start()
        self._ready = False

    def judge(self, questions: Sequence[PolicyQuestion]) -> list[PolicyVerdict]:
        """Returns one verdict for each question. Equal questions get the verdict that was found the first time.

        Raises:
            KitError: the process died, or a question names an action that IAM doesn't know.
        """
        with self._lock:
            keys = [_key(question) for question in questions]
            new = {key: each for key, each in zip(keys, questions, strict=True) if key not in self._verdicts}
            if new:
                self._verdicts |= zip(new, self._judged(list(new.values())), strict=True)
            found = [self._verdicts[key] for key in keys]
            if len(self._verdicts) > _KEPT_VERDICTS:
                self._verdicts.clear()
        return found

    def _judged(self, questions: Sequence[PolicyQuestion]) -> list[PolicyVerdict]:
        policies: dict[str, str] = {}
        message = {"questions": [self._encode(question, policies) for question in questions], "policies": policies}
        answers = self._ask(message)["answers"]
        return [PolicyVerdict(each["allowed"], each.get("by", ""), each.get("explicit", False)) for each in answers]

    def errors_of(self, policy: str, kind: str) -> list[str]:
        """Returns the errors in a policy's text; `kind` is identity, resource or trust."""
        with self._lock:
            return self._ask({"kind": kind, "validate": policy})["errors"]

    def close(self) -> None:
        """Ends the process."""
        with self._lock:
            assert self._process.stdin
            assert self._process.stdout
            assert self._process.stderr
            with contextlib.suppress(BrokenPipeError):  # the process died before it read the last question
                self._process.stdin.close()
            try:
                self._process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._listener.join()
            self._process.stdout.close()
            self._process.stderr.close()

    def _encode(self, question: PolicyQuestion, policies: dict[str, str]) -> dict[str, Any]:
        def key(text: str | None) -> str | None:
            if text is None:
                return None
            digest = hashlib.sha256(text.encode()).hexdigest()[:24]
            if digest not in self._sent:
                policies[digest] = text
            return digest

        return {
            "principal": question.principal,
            "account": question.account,
            "action": question.action,
            "resource": question.resource,
            "context": dict(question.context),
            "identity": [key(text) for text in question.identity],
            "boundary": None if question.boundary is None else [key(question.boundary)],
            "session": key(question.session),
            "resource_policy": key(question.resource_policy),
        }

    def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin
        if not self._ready:
            self._ready = "ready" in self._read()
        self._asked += 1
        try:
            self._process.stdin.write(json.dumps({"id": self._asked, **message}) + "\n")
        except (BrokenPipeError, ValueError):
            raise self._dead() from None
        reply = self._read()
        if "error" in reply:
            raise KitError(f"a permission can't be judged: {reply['error'].splitlines()[0]}", where="permission judge")
        self._sent.update(message.get("policies", {}))
        return reply

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout
        try:
            line = self._process.stdout.readline()
        except ValueError:
            line = ""
        if not line:
            raise self._dead()
        return json.loads(line)

    def _dead(self) -> KitError:
        self._listener.join(1)
        said = "; ".join(self._said) or "it printed nothing"
        return KitError(f"the permission judge ended: {said}", where="permission judge", fix="start the twin again")

    def _listen(self) -> None:
        assert self._process.stderr
        for line in self._process.stderr:
            self._said.append(line.strip())


def _key(question: PolicyQuestion) -> Hashable:
    """Returns what a question's verdict depends on: the time only where one of its policies mentions it."""
    texts = (*question.identity, question.boundary, question.session, question.resource_policy)
    timed = any(_mentions_time(text) for text in texts if text)
    context = (
        (name, value if isinstance(value, str) else tuple(value))
        for name, value in question.context.items()
        if timed or name.lower() not in _MOMENT
    )
    asked = (question.principal, question.account, question.action, question.resource)
    return asked, frozenset(context), len(question.identity), texts


@lru_cache(1_000)
def _mentions_time(policy: str) -> bool:
    lower = policy.lower()
    return any(name in lower for name in (*_MOMENT, "\\u"))  # JSON's escapes may hide such a name
