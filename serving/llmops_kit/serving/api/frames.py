"""Responses in OpenAI's form: pieces of answers as server-sent events, or whole answers as one object."""

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import uuid4

from llmops_kit.core.models.tool_call_stream import CallDelta

_COMPACT = (",", ":")


class TokenChance(NamedTuple):
    """A token and its log probability."""

    text: str
    content: bytes
    logprob: float
    others: tuple["TokenChance", ...] = ()
    """The likeliest tokens at its position."""

    def to_dict(self) -> dict[str, Any]:
        shown = {"token": self.text, "logprob": self.logprob, "bytes": list(self.content)}
        return shown | {
            "top_logprobs": [{k: v for k, v in o.to_dict().items() if k != "top_logprobs"} for o in self.others]
        }


class Delta(NamedTuple):
    """A piece of one answer."""

    text: str = ""
    calls: Sequence[CallDelta] = ()
    chances: Sequence[TokenChance] = ()
    finish: str = ""
    """Set in the last piece of each answer."""
    choice: int = 0
    tokens: int = 0
    """Tokens of its answer so far, for a stream with the usage in every chunk."""


@dataclass
class _Choice:
    """One whole answer."""

    text: str = ""
    calls: list[dict[str, Any]] = field(default_factory=list)
    chances: list[TokenChance] = field(default_factory=list)
    finish: str = ""

    def add(self, delta: Delta) -> None:
        self.text += delta.text
        self.chances += delta.chances
        self.finish = delta.finish or self.finish
        for call in delta.calls:
            if call.call == len(self.calls):
                self.calls.append(_call(call.name))
            self.calls[call.call]["function"]["arguments"] += call.arguments


class Frames:
    """Builds the response to one request for a chat completion."""

    ID, WHOLE, CHUNK = "chatcmpl", "chat.completion", "chat.completion.chunk"

    def __init__(
        self,
        model: str,
        fingerprint: str,
        *,
        answers: int = 1,
        with_usage: bool = False,
        continuous: int | None = None,
    ) -> None:
        """Begins a response.

        Args:
            model: its name.
            fingerprint: of the system.
            answers: number of answers.
            with_usage: whether a stream ends with the usage.
            continuous: tokens of the prompt, for a stream whose chunks each have their answer's usage so far.
        """
        self._answers = answers
        self._with_usage = with_usage
        self._continuous = continuous
        self._head = {
            "id": f"{self.ID}-{uuid4().hex}",
            "created": int(time.time()),
            "model": model,
            "system_fingerprint": fingerprint,
        }
        # Frames of tokens are written thousands of times: all but the text is encoded once.
        self._usage = ',"usage":null' if with_usage else ""
        self._chunk = json.dumps({**self._head, "object": self.CHUNK}, separators=_COMPACT)[:-1]

    def role(self) -> bytes:
        """Returns the frames that open a stream: an empty delta with the role for each answer."""
        empty = '"delta":{"role":"assistant","content":""}'
        return b"".join(self._frame(Delta(choice=choice), empty) for choice in range(self._answers))

    def delta(self, delta: Delta) -> bytes:
        """Returns the frames of one delta: its text with log probabilities, its pieces of calls, and its end."""
        frames: list[bytes] = []
        chances = _logprobs(delta.chances)
        if delta.text or (delta.chances and not delta.calls):
            frames.append(self._frame(delta, f'"delta":{{"content":{json.dumps(delta.text)}}}', chances))
            chances = "null"
        for call in delta.calls:
            shown = {"index": call.call, **_call(call.name)} if call.name else {"index": call.call, "function": {}}
            shown["function"]["arguments"] = call.arguments
            content = json.dumps({"tool_calls": [shown]}, separators=_COMPACT)
            frames.append(self._frame(delta, f'"delta":{content}', chances))
            chances = "null"
        if delta.finish:
            frames.append(self._frame(delta, '"delta":{}', finish=delta.finish))
        return b"".join(frames)

    def end(self, usage: dict[str, int]) -> bytes:
        """Returns the frames that close a stream: the usage if it was asked for, and `[DONE]`."""
        frames = ""
        if self._with_usage:
            chunk = {**self._head, "object": self.CHUNK, "choices": [], "usage": usage}
            frames = f"data: {json.dumps(chunk, separators=_COMPACT)}\n\n"
        return f"{frames}data: [DONE]\n\n".encode()

    def whole(self, deltas: Iterable[Delta], usage: dict[str, int]) -> dict[str, Any]:
        """Returns the answers as one object."""
        choices = [_Choice() for _ in range(self._answers)]
        for delta in deltas:
            choices[delta.choice].add(delta)
        shown = [
            {"index": index, **self._shown(choice), "finish_reason": choice.finish}
            for index, choice in enumerate(choices)
        ]
        return {**self._head, "object": self.WHOLE, "choices": shown, "usage": usage}

    def _frame(self, delta: Delta, content: str, chances: str = "null", finish: str = "") -> bytes:
        end = json.dumps(finish) if finish else "null"
        usage = self._usage
        if self._continuous is not None:
            usage = f',"usage":{json.dumps(usage_of(self._continuous, delta.tokens), separators=_COMPACT)}'
        return (
            f'data: {self._chunk},"choices":[{{"index":{delta.choice},{content},"logprobs":{chances},'
            f'"finish_reason":{end}}}]{usage}}}\n\n'
        ).encode()

    def _shown(self, choice: _Choice) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": choice.text, "refusal": None}
        if choice.calls:
            message |= {"content": choice.text or None, "tool_calls": choice.calls}
        return {"message": message, "logprobs": json.loads(_logprobs(choice.chances))}


class CompletionFrames(Frames):
    """Builds the response to one request for a completion of a text."""

    ID, WHOLE, CHUNK = "cmpl", "text_completion", "text_completion"

    def role(self) -> bytes:
        """Returns no frame: text completions have none for the role."""
        return b""

    def delta(self, delta: Delta) -> bytes:
        """Returns the frames of one delta: its text, and its end."""
        frames = self._frame(delta, f'"text":{json.dumps(delta.text)}') if delta.text else b""
        return frames + (self._frame(delta, '"text":""', finish=delta.finish) if delta.finish else b"")

    def _shown(self, choice: _Choice) -> dict[str, Any]:
        return {"text": choice.text, "logprobs": None}


def usage_of(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    """Returns OpenAI's usage object."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


def _call(name: str) -> dict[str, Any]:
    return {"id": f"call_{uuid4().hex[:24]}", "type": "function", "function": {"name": name, "arguments": ""}}


def _logprobs(chances: Sequence[TokenChance]) -> str:
    if not chances:
        return "null"
    return json.dumps({"content": [chance.to_dict() for chance in chances], "refusal": None}, separators=_COMPACT)
