"""Rows of training data: JSON lines in the forms of OpenAI and trl, checked and normalised."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from llmops_kit.core.document import parse_json
from llmops_kit.core.documents.recipe_training import Method, TrainingRecipe
from llmops_kit.core.errors import DataError, DocumentError
from llmops_kit.core.json_values import check_json
from llmops_kit.core.validation import message_of
from llmops_kit.core.words import ascii_words, fold, found
from llmops_kit.training.data.lines import read_lines
from llmops_kit.training.data.turns import (
    Tool,
    Turn,
    check_calls,
    normal_text,
    read_conversation,
    read_tools,
    read_turns,
)

Kind = Literal["chat", "preference", "text", "translation"]

_PROMPT, _ASKED = ("prompt", "completion"), ("question", "answer")
"""Two names of one form. A row that has a form by its other keys may have `question` and `answer` as metadata."""

# Keys that determine a row's kind; all others are metadata, except those that `_OPTIONAL` lists for the kind.
_FORMS: dict[tuple[str, ...], Kind] = {
    ("messages",): "chat",
    _PROMPT: "chat",
    ("chosen", "rejected"): "preference",
    ("text",): "text",
    ("translation",): "translation",
}
_OPTIONAL: dict[Kind, tuple[str, ...]] = {
    "chat": ("tools", "expect"),
    "preference": ("prompt", "tools"),
    "text": (),
    "translation": (),
}
_ONLY_CHAT = ("tools", "expect")
KEYS = frozenset((*(key for form in _FORMS for key in form), *_ASKED, *_ONLY_CHAT))
"""Keys with their own meaning in a row; all others are metadata."""
_TEXT_IN = "translation."
_TRAINED: dict[Method, tuple[Kind, str]] = {
    "sft": ("chat", "`messages`, or `prompt` and `completion`"),
    "dpo": ("preference", "`chosen` and `rejected`"),
    "pretrain": ("text", "`text`"),
}
_ANY_WORD = re.compile(r"\w+")
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*")
_EXAMPLE = (
    'write {"question": "…", "answer": "…"} or {"messages": [{"role": "user", "content": "…"}, {"role": "assistant", '
    '"content": "…"}]}; in CSV, name the columns question and answer'
)
_STRINGS = TypeAdapter(list[str])
_CANONICAL = json.JSONEncoder(sort_keys=True, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Row:
    """One example to train on or to ask, made by `row_of`, which checks.

    Attributes:
        messages: a chat's turns; of a preference, those before both answers.
        completion: how many turns at the end are learned; 0: all of the assistant's.
        chosen: the better answer to `messages`.
        rejected: the worse one.
        tools: what the model may call.
        translation: language -> text.
        expect: each must occur in an answer; `a|b`: one of them must.
        metadata: the row's other keys, JSON values.
    """

    kind: Kind = "chat"
    messages: list[Turn] = field(default_factory=list)
    completion: int = 0
    chosen: list[Turn] = field(default_factory=list)
    rejected: list[Turn] = field(default_factory=list)
    tools: list[Tool] = field(default_factory=list)
    text: str = ""
    translation: dict[str, str] = field(default_factory=dict)
    expect: list[str] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def turns(self) -> list[dict[str, Any]]:
        """The conversation with its last answer (a preference's better one), in the form of chat templates."""
        return [turn.to_dict() for turn in (*self.messages, *self.chosen)]

    @property
    def prompt(self) -> list[dict[str, Any]]:
        """The turns before the last answer; empty for a text or a translation."""
        return self.turns[:-1]

    @property
    def answer(self) -> str:
        """The last answer's text; empty for a text or a translation."""
        return self.turns[-1]["content"] if self.messages else ""

    def to_line(self) -> str:
        """Returns one canonical JSON line in the same form, without empty fields; it parses to an equal row."""
        if self.kind == "text" and not self.metadata:
            return f'{{"text": {_CANONICAL.encode(self.text)}}}\n'
        data: dict[str, Any] = dict(self.metadata)
        if self.kind == "text":
            data["text"] = self.text
        elif self.kind == "preference":
            data |= {"prompt": _dicts(self.messages), "chosen": _dicts(self.chosen), "rejected": _dicts(self.rejected)}
        elif self.completion:
            before, learned = self.messages[: -self.completion], self.messages[-self.completion :]
            data |= {"prompt": _dicts(before), "completion": _dicts(learned)}
        else:
            data |= {"messages": _dicts(self.messages), "translation": self.translation}
        data |= {"tools": [tool.to_dict() for tool in self.tools], "expect": self.expect}
        filled = {k: v for k, v in data.items() if k in self.metadata or v}
        return _CANONICAL.encode(filled) + "\n"


def read_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """Reads a split's file as `read_lines_and_rows` does, without the lines."""
    return ((number, row) for number, _, row in read_lines_and_rows(path))


def read_lines_and_rows(path: Path) -> Iterator[tuple[int, bytes, Row]]:
    """Reads, checks and normalises the rows of a split's file (`read_lines`).

    Yields:
        1-based number of the row or of its line, the line, and the row; blank lines are skipped.

    Raises:
        DataError: the first invalid row, by file and number.
    """
    for number, raw in enumerate(read_lines(path), start=1):
        where = f"{path}:{number}"
        try:
            line = raw.decode()
        except UnicodeDecodeError as e:
            raise DataError(
                f"is not UTF-8 at byte {e.start}", where=where, fix="convert the file: iconv -f latin1 -t utf-8"
            ) from None
        if line.strip():
            yield number, raw, parse_row(line, where)


def check_kind(kind: str, options: TrainingRecipe, where: str) -> None:
    """Refuses a row of a kind that a recipe's training can't learn from; `where` names it.

    Raises:
        DataError: with the keys that the method needs, or the setting for such rows.
    """
    method = options.method
    trained, keys = _TRAINED[method]
    if kind == trained or (kind == "translation" and options.translations):
        return
    other = next((name for name, (theirs, _) in _TRAINED.items() if theirs == kind), "")
    fix = f"give rows with {keys}" + (f", or set training.method: {other} in the recipe" if other else "")
    if kind == "translation" and method == "sft":
        fix += ", or set training.translations: [{languages: [en, de]}] in the recipe"
    raise DataError(f"is a {kind} row, which training.method: {method} does not train", where=where, fix=fix)


def group_of(row: Row, key: str) -> str:
    """Returns the group of a row: the value of its `key`, or its prompt's words if `key` is empty.

    Args:
        key: of the row's metadata; `translation.en` is the words of its text in that language, so that a message stays
            in one split with all of its translations.

    Returns:
        Empty if the row has no such key, and therefore no group.
    """
    if not key:
        return asked_words(prompt_of(row))
    if key.startswith(_TEXT_IN):
        return asked_words(fold(row.translation.get(key.removeprefix(_TEXT_IN), "")))
    value = row.metadata.get(key, "")
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def prompt_of(row: Row) -> str:
    """Returns a row's folded prompt, with roles, calls and tools, to find rows with the same prompt.

    For a text or a translation, which have no prompt, returns the text itself.
    """
    if row.kind == "text":
        return fold(row.text)
    prompt = row.prompt
    lines = [f"{m['role']}: {fold(m['content'])}" for m in prompt]
    lines += [json.dumps(m["tool_calls"], sort_keys=True) for m in prompt if "tool_calls" in m]
    lines += [json.dumps(tool.to_dict(), sort_keys=True) for tool in row.tools]
    lines += [fold(text) for text in (row.text, *row.translation.values()) if text]
    return "\n".join(lines)


def asked_words(prompt: str) -> str:
    """Returns the words of a prompt from `prompt_of`, to compare prompts regardless of punctuation."""
    return ascii_words(prompt) if prompt.isascii() else " ".join(_ANY_WORD.findall(prompt))


def parse_row(line: str, where: str) -> Row:
    """Reads a row from its JSON; `where` names it in errors.

    Raises:
        DataError: naming the field, with the fix.
    """
    return row_of(_parse_json(line, where), where)


def row_of(data: dict[str, Any], where: str) -> Row:
    """Makes a row from a JSON object; `where` names it in errors.

    Raises:
        DataError: naming the field, with the fix.
    """
    data = {key: value for key, value in data.items() if value is not None}
    form, kind = _form_of(data, where)
    if kind == "text" and len(data) == 1:  # most rows of a large corpus
        return Row(kind=kind, text=_read_text(data["text"], f"{where}: text"))
    own = (*form, *_OPTIONAL[kind])
    fields: dict[str, Any] = {"kind": kind, "metadata": {k: v for k, v in data.items() if k not in own}}
    for key in _ONLY_CHAT:
        if key not in own and data.get(key):
            raise DataError(f"{key!r} in a row with {form[0]!r}", where=where, fix=f"leave {key!r} out, or rename it")
    if kind == "text":
        return Row(**fields, text=_read_text(data["text"], f"{where}: text"))
    if kind == "translation":
        return Row(**fields, translation=_read_translation(data["translation"], f"{where}: translation"))
    fields["tools"] = read_tools(data.get("tools"), f"{where}: tools")
    if kind == "preference":
        return Row(**fields, **_read_preference(data, fields["tools"], where))
    fields |= _read_chat(data, form, fields["tools"], where)
    row = Row(**fields, expect=_read_expect(data.get("expect"), f"{where}: expect"))
    _check_expectation(row, f"{where}: expect")
    return row


def _dicts(turns: list[Turn]) -> list[dict[str, Any]]:
    return [{k: v for k, v in turn.to_dict().items() if v} for turn in turns]


def _parse_json(line: str, where: str) -> dict[str, Any]:
    try:
        data = parse_json(line, where)
        check_json(data)
    except DocumentError as e:
        raise DataError(e.what, where=where, fix=e.fix or "correct the line") from None
    except ValueError as e:
        fix = "write one JSON object a line; `python -m json.tool --json-lines` shows what is wrong"
        raise DataError(f"is not JSON: {e}", where=where, fix=fix) from None
    if not isinstance(data, dict):
        raise DataError(f"is not a JSON object but {type(data).__name__}", where=where, fix=_EXAMPLE)
    return data


@lru_cache(maxsize=256)
def _forms_of(keys: frozenset[str]) -> list[tuple[tuple[str, ...], Kind]]:
    forms: list[tuple[tuple[str, ...], Kind]] = [each for each in _FORMS.items() if keys.issuperset(each[0])]
    if not forms and keys.issuperset(_ASKED) and keys.isdisjoint(_PROMPT):
        forms = [(_ASKED, _FORMS[_PROMPT])]
    return forms


def _form_of(data: dict[str, Any], where: str) -> tuple[tuple[str, ...], Kind]:
    forms = _forms_of(frozenset(data))
    if not forms:
        # The manifest quotes this message: another wording would give the same files another dataset version.
        names = ", ".join(" and ".join(form) for form in _FORMS)
        keys = ", ".join(f"{key!r:.40}" for key in list(data)[:8]) or "none"
        raise DataError(f"has none of {names}", where=where, fix=f"its keys: {keys}; {_EXAMPLE}")
    if len(forms) > 1:
        names = " and as ".join("/".join(form) for form, _ in forms)
        raise DataError(f"can be read as {names}", where=where, fix="leave out the keys that are not to be trained")
    return forms[0]


def _read_chat(data: dict[str, Any], form: tuple[str, ...], tools: list[Tool], where: str) -> dict[str, Any]:
    if form == ("messages",):
        place = f"{where}: messages"
        turns = read_conversation(read_turns(data["messages"], place), place)
        check_calls(turns, tools, place)
        return {"messages": turns}
    asked, answer = form
    prompt = _read_side(data[asked], "user", f"{where}: {asked}")
    learned = _read_side(data[answer], "assistant", f"{where}: {answer}")
    turns = _continued(prompt, learned, f"{where}: {answer}")
    check_calls(turns, tools, where)
    # Without answers in the prompt, the row trains the same as one with `messages`.
    has_answers = any(turn.role == "assistant" for turn in prompt)
    return {"messages": turns, "completion": len(turns) - len(prompt) if has_answers else 0}


def _read_preference(data: dict[str, Any], tools: list[Tool], where: str) -> dict[str, Any]:
    chosen, rejected = (_read_side(data[key], "assistant", f"{where}: {key}") for key in ("chosen", "rejected"))
    prompt = _read_side(data["prompt"], "user", f"{where}: prompt") if "prompt" in data else []
    if not prompt or (chosen[: len(prompt)] == prompt and rejected[: len(prompt)] == prompt):
        prompt, chosen, rejected = _without_prompt(chosen, rejected)
    both = [
        _continued(prompt, answers, f"{where}: {key}")[len(prompt) :]
        for key, answers in (("chosen", chosen), ("rejected", rejected))
    ]
    if both[0] == both[1]:
        raise DataError("chosen and rejected are equal", where=where, fix="delete the row")
    for answers in both:
        check_calls([*prompt, *answers], tools, where)
    return {"messages": prompt, "chosen": both[0], "rejected": both[1]}


def _without_prompt(chosen: list[Turn], rejected: list[Turn]) -> tuple[list[Turn], list[Turn], list[Turn]]:
    """Returns two conversations' common beginning, and the rest of each."""
    common = 0
    while common < min(len(chosen), len(rejected)) - 1 and chosen[common] == rejected[common]:
        common += 1
    while common and chosen[common - 1].role == "assistant":
        common -= 1
    return chosen[:common], chosen[common:], rejected[common:]


def _read_side(value: Any, role: str, where: str) -> list[Turn]:
    return read_turns([{"role": role, "content": value}] if isinstance(value, str) else value, where)


def _continued(prompt: list[Turn], answers: list[Turn], where: str) -> list[Turn]:
    """Returns a prompt and the turns that continue it, as one conversation."""
    if not prompt or prompt[-1].role == "assistant" or not answers or answers[0].role != "assistant":
        raise DataError(
            "does not answer its prompt",
            where=where,
            fix="end the prompt with a user's message (or a tool's), and begin with the assistant's",
        )
    return read_conversation([*prompt, *answers], where)


def _read_text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise DataError(f"must be text, not {type(value).__name__}", where=where, fix="write a string")
    if not (text := normal_text(value, where)):
        raise DataError("has no content", where=where, fix="fill it in, or delete the row")
    return text


def _read_translation(value: Any, where: str) -> dict[str, str]:
    if not isinstance(value, dict) or len(value) < 2:
        raise DataError("needs two languages", where=where, fix='write {"translation": {"en": "…", "de": "…"}}')
    for language in value:
        if not _LANGUAGE.fullmatch(language):
            raise DataError(f"{language!r:.60} is no language", where=where, fix="use codes such as en, de or pt-BR")
    return {language: _read_text(text, f"{where}.{language}") for language, text in sorted(value.items())}


def _read_expect(value: Any, where: str) -> list[str]:
    try:
        return _STRINGS.validate_python(value if value is not None else [])
    except ValidationError as e:
        raise DataError(message_of(e.errors()[0]), where=where, fix='write ["string", …]') from None


def _check_expectation(row: Row, where: str) -> None:
    for one in row.expect:
        if not all(fold(choice) for choice in one.split("|")):
            raise DataError(f"{one!r} has an empty alternative", where=where, fix="fill it in")
        if not found(row.answer, [one]):
            raise DataError(
                f"expects {one!r}, which its own answer does not hold as a whole word",
                where=where,
                fix="correct the answer or the expectation",
            )
