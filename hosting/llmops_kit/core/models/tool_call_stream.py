"""Parses tool calls while an answer is generated: returns text, names and arguments as soon as they are certain.

The formats are those of `llmops_kit.core.models.tool_calls`, which parses whole answers. A call that begins with its
name, as usual, is streamed; any other call is returned whole at its end.
"""

import json
import re
from typing import Literal, NamedTuple

from llmops_kit.core.models.tool_calls import CLOSE, OPEN, ParsedCall, parse_tool_calls

_NAME = r'"name"\s*:\s*"([A-Za-z0-9_.-]{1,64})"\s*,\s*'
_LONGEST_HEAD = 512
"""Characters within which a call without markup must show its name; otherwise it is text."""


class CallForm(NamedTuple):
    """Format in which a family of models writes calls."""

    name: Literal["hermes", "llama", "ours"]
    opening: str
    """A regular expression for the beginning of an answer's first call; "" where each call has markup."""
    head: re.Pattern[str]
    """Matches a call up to its arguments."""
    tail: re.Pattern[str]
    """Matches the end of a call, after its arguments."""
    starts: tuple[str, ...]
    """Beginnings of calls without markup, with spaces removed."""


HERMES = CallForm(
    name="hermes",
    opening="",
    head=re.compile(rf'\s*\{{\s*{_NAME}"arguments"\s*:\s*(?=\{{)'),
    tail=re.compile(rf"\s*\}}\s*{CLOSE}"),
    starts=(),
)
LLAMA = CallForm(
    name="llama",
    opening=r"\s*(?:<\|python_tag\|>\s*)?(?=\{)",
    head=re.compile(rf'[\s;]*\{{\s*(?:"type"\s*:\s*"function"\s*,\s*)?{_NAME}"parameters"\s*:\s*(?=\{{)'),
    tail=re.compile(r"\s*\}"),
    starts=('{"name"', '{"type":"function"'),
)
OURS = CallForm(
    name="ours",
    opening=r'\s*\{\s*"tool_calls"\s*:\s*\[',
    head=re.compile(rf'\s*,?\s*\{{\s*{_NAME}"arguments"\s*:\s*(?=\{{)'),
    tail=re.compile(r"\s*\}"),
    starts=('{"tool_calls":[',),
)


def form_of(template: str) -> CallForm | None:
    """Returns the format in which a chat template makes the model write calls; None: one that is not parsed here."""
    if OPEN in template:
        return None if "<function=" in template else HERMES  # Qwen3-Coder writes its arguments in XML
    if re.search(r'\\?"tool_calls\\?"\s*:\s*\[', template):
        return OURS
    return LLAMA if re.search(r'\\?"name\\?"\s*:.{0,80}\\?"parameters\\?"\s*:', template, re.DOTALL) else None


class CallDelta(NamedTuple):
    """A piece of a tool call."""

    call: int
    """Its number in the answer, from 0."""
    name: str
    """With the first piece of each call only."""
    arguments: str
    """JSON, to be appended to that of the earlier pieces."""


class Read(NamedTuple):
    """Text and calls in a piece of an answer."""

    text: str
    calls: list[CallDelta]


class CallReader:
    """Splits an answer that arrives in pieces into text and calls."""

    def __init__(self, form: CallForm) -> None:
        self.complete = 0
        """Number of calls that have ended."""
        self._form = form
        self._begun = 0
        self._held = ""
        self._arguments = _ObjectEnd()
        self._state = self._text if form is HERMES else self._opening

    def feed(self, piece: str) -> Read:
        """Returns the text and calls that are certain after this piece; a call's markup is never returned as text."""
        self._held += piece
        read = Read("", [])
        while True:
            before = self._state, len(self._held)
            text, calls = self._state()
            read = Read(read.text + text, read.calls + calls)
            if not self._held or (self._state, len(self._held)) == before:
                return read

    def flush(self) -> Read:
        """Ends the answer, and returns what was held back: text without markup if it isn't a call, nothing if the
        answer was cut within one.
        """
        held, self._held = self._held, ""
        if self._state == self._opening:
            try:
                read = self._whole(held, held)
            except ValueError:
                read = Read(held, [])
            return Read("", []) if not read.calls and self._is_cut_call(held) else read
        if self._state == self._text:
            kept = _possible_start(held)
            return Read("" if self._begun else held[: len(held) - kept] if kept > 1 else held, [])
        if self._state == self._head and self._form is HERMES and not held.lstrip().startswith(("{", "[")):
            return Read(held.strip(), [])
        return Read("", [])

    def _text(self) -> Read:
        before, found, after = self._held.partition(OPEN)
        if found:
            self._held, self._state = after, self._head
            return Read(before.rstrip(), [])
        kept = _possible_start(before)
        shown = before[: len(before) - kept].rstrip()
        self._held = before[len(shown) :]
        return Read(shown, [])

    def _plain(self) -> Read:
        held, self._held = self._held, ""
        return Read(held, [])

    def _opening(self) -> Read:
        opening = re.match(self._form.opening, self._held)
        if opening and (head := self._form.head.match(self._held, opening.end())):
            return self._begin(head)
        begins = self._held.lstrip()
        hopeless = begins and not begins.startswith(("{", "<|python_tag|>")) and not "<|python_tag|>".startswith(begins)
        if hopeless or len(begins) > _LONGEST_HEAD:
            self._state = self._plain
        return Read("", [])

    def _head(self) -> Read:
        if head := self._form.head.match(self._held):
            return self._begin(head)
        if self._form is not HERMES:
            rest = self._held.lstrip(" \t\r\n;,]}")
            if rest and rest[0] != "{":
                self._held, self._state = rest, self._plain
            return Read("", [])
        inside, close, after = self._held.partition(CLOSE)
        if not close:
            return Read("", [])
        self._held, self._state = after, self._text
        try:
            return self._whole(OPEN + inside + CLOSE, inside)
        except ValueError:
            return Read(inside.strip(), [])

    def _begin(self, head: re.Match[str]) -> Read:
        self._held, self._state, self._arguments = self._held[head.end() :], self._in_arguments, _ObjectEnd()
        self._begun += 1
        return Read("", [CallDelta(self._begun - 1, head[1], "")])

    def _in_arguments(self) -> Read:
        end = self._arguments.find(self._held)
        piece, self._held = self._held[:end], self._held[end:]
        if self._arguments.ended:
            self._state = self._tail
        return Read("", [CallDelta(self._begun - 1, "", piece)] if piece else [])

    def _tail(self) -> Read:
        if tail := self._form.tail.match(self._held):
            self._held = self._held[tail.end() :]
            self._state = self._text if self._form is HERMES else self._head
            self.complete += 1
        elif self._form is HERMES and CLOSE in self._held:  # other fields after the arguments are ignored
            self._held, self._state = self._held.partition(CLOSE)[2], self._text
            self.complete += 1
        return Read("", [])

    def _is_cut_call(self, text: str) -> bool:
        squeezed = "".join(text.split()).removeprefix("<|python_tag|>")
        if not any(squeezed.startswith(start[: len(squeezed)]) for start in self._form.starts):
            return False
        try:
            json.loads(text)
        except ValueError:
            return bool(squeezed)
        return False

    def _whole(self, answer: str, text: str) -> Read:
        """Returns the calls of an answer whose fields are not in the usual order, or else the given text."""
        found = parse_tool_calls(answer)
        deltas = [self._call(call) for call in found.calls]
        self.complete += len(deltas)
        return Read("" if deltas else text, deltas)

    def _call(self, call: ParsedCall) -> CallDelta:
        self._begun += 1
        return CallDelta(self._begun - 1, call.name, json.dumps(call.arguments, ensure_ascii=False))


class _ObjectEnd:
    """Finds the end of a JSON object that arrives in pieces."""

    _TURN = re.compile(r'["\\{}]')

    def __init__(self) -> None:
        self.ended = False
        self._depth = 0
        self._in_string = False
        self._escaped = False

    def find(self, piece: str) -> int:
        """Returns how many characters of a piece belong to the object."""
        place = 0
        while place < len(piece):
            if self._escaped:
                self._escaped, place = False, place + 1
                continue
            turn = self._TURN.search(piece, place)
            if not turn:
                break
            place = turn.end()
            self._take(turn[0])
            if self.ended:
                return place
        return len(piece)

    def _take(self, character: str) -> None:
        if self._in_string:
            self._escaped = character == "\\"
            self._in_string = character != '"'
        elif character == '"':
            self._in_string = True
        elif character != "\\":
            self._depth += 1 if character == "{" else -1
            self.ended = self._depth == 0


def _possible_start(text: str) -> int:
    """Returns how many characters at a text's end may be the start of a call's markup."""
    return next((n for n in range(min(len(text), len(OPEN) - 1), 0, -1) if OPEN.startswith(text[-n:])), 0)
