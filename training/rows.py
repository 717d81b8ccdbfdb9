"""Chat rows: JSON lines with `messages`, and for facts `fact` and `expect`."""

import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import Field, ValidationError

from contract.documents.document import Part
from contract.documents.model import Message
from contract.documents.validation import message_of
from contract.errors import DataError

# Special tokens of chat templates: in a row's text they would end a turn or begin one.
_SPECIAL_TOKEN = re.compile(r"<\|[a-z0-9_]{1,40}\|>|\[/?INST\]|</?s>", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ufffd]")


class Row(Part):
    """A conversation that ends with the answer to learn."""

    messages: list[Message] = Field(min_length=2)
    fact: str = Field(default="", max_length=64, description="What the answer is about; empty: no fact, trained only.")
    expect: list[str] = Field(default=[], description="Each must stand in an answer; `a|b`: one of them must.")

    @property
    def metadata(self) -> dict[str, str]:
        """Keys of the row that say something about it."""
        return {"fact": self.fact} if self.fact else {}

    @property
    def prompt(self) -> list[dict[str, str]]:
        """The messages before the last answer."""
        return [m.model_dump() for m in self.messages[:-1]]

    @property
    def answer(self) -> str:
        """The last message's text."""
        return self.messages[-1].content

    def to_line(self) -> str:
        """One canonical JSON line."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=False) + "\n"


def read_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """Read, check and normalise a file's rows.

    Yields:
        1-based line number and row; blank lines are left out.

    Raises:
        DataError: naming file and line, for the first line that can't be used.
    """
    try:
        content = path.read_bytes()
    except OSError as e:
        raise DataError(f"can't be read: {e.strerror}", where=str(path), fix="correct the path in the recipe") from e
    for number, raw in enumerate(content.split(b"\n"), start=1):
        where = f"{path}:{number}"
        try:
            line = raw.decode()
        except UnicodeDecodeError as e:
            raise DataError(
                f"is not UTF-8 at byte {e.start}", where=where, fix="convert the file: iconv -f latin1 -t utf-8"
            ) from None
        if line.strip():
            yield number, _parse(line, where)


def group_of(row: Row, key: str) -> str:
    """The group that a row belongs to: the value of its `key`, or its prompt's words where `key` is empty.

    Returns:
        Empty: the row has no such key, and belongs to none.
    """
    if not key:
        return " ".join(re.findall(r"\w+", prompt_of(row)))
    value = row.metadata.get(key, "")
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def prompt_of(row: Row) -> str:
    """The prompt, folded, with its roles: two rows with the same one ask the same."""
    return "\n".join(f"{m['role']}: {fold(m['content'])}" for m in row.prompt)


def found(answer: str, expect: Sequence[str]) -> bool:
    """Whether every expected string stands in an answer, letter case and spaces aside."""
    text = fold(answer)
    return all(any(fold(choice) in text for choice in one.split("|")) for one in expect)


def fold(text: str) -> str:
    """Text without differences of letter case, spaces and Unicode form."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _parse(line: str, where: str) -> Row:
    try:
        data = json.loads(line)
    except ValueError as e:
        fix = "write one JSON object a line; `python -m json.tool --json-lines` shows what is wrong"
        raise DataError(f"is not JSON: {e}", where=where, fix=fix) from None
    if not isinstance(data, dict):
        raise DataError(f"is not a JSON object but {type(data).__name__}", where=where, fix='write {"messages": [...]}')
    try:
        row = Row.model_validate(data)
    except ValidationError as e:
        first = e.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        fix = 'write rows as {"messages": [{"role": …, "content": …}, …], "fact": …, "expect": ["…"]}'
        raise DataError(message_of(first), where=f"{where}: {field}", fix=fix) from None
    row = row.model_copy(
        update={"messages": [_normalised(m, f"{where}: messages.{i}") for i, m in enumerate(row.messages)]}
    )
    _check_turns(row, where)
    _check_expectation(row, where)
    return row


def _normalised(message: Message, where: str) -> Message:
    text = unicodedata.normalize("NFC", message.content.replace("\r\n", "\n")).strip()
    if not text:
        raise DataError("has no content", where=where, fix="fill it in, or delete the row")
    if match := _CONTROL.search(text):
        raise DataError(
            f"holds the control or replacement character U+{ord(match[0]):04X}",
            where=where,
            fix="take it out of the text",
        )
    if match := _SPECIAL_TOKEN.search(text):
        raise DataError(
            f"holds {match[0]!r}, a special token of chat templates", where=where, fix="spell it otherwise in the text"
        )
    return message.model_copy(update={"content": text})


def _check_turns(row: Row, where: str) -> None:
    roles = [m.role for m in row.messages]
    turns = roles[1:] if roles[0] == "system" else roles
    if not turns or turns != ["user", "assistant"] * (len(turns) // 2):
        raise DataError(
            f"its roles are {', '.join(roles)}",
            where=f"{where}: messages",
            fix="begin with user (after at most one system message), alternate, and end with assistant",
        )


def _check_expectation(row: Row, where: str) -> None:
    if bool(row.fact) != bool(row.expect):
        missing = "expect" if row.fact else "fact"
        raise DataError("has one of fact and expect only", where=where, fix=f"add {missing}, or leave both out")
    for one in row.expect:
        if not all(fold(choice) for choice in one.split("|")):
            raise DataError(f"{one!r} has an empty alternative", where=f"{where}: expect", fix="fill it in")
        if not found(row.answer, [one]):
            raise DataError(
                f"expects {one!r}, which its own answer does not hold",
                where=f"{where}: expect",
                fix="correct the answer or the expectation",
            )
