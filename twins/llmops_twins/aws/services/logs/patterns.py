"""Filter patterns of CloudWatch Logs: terms, space-delimited fields, JSON.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html
"""

import json
import operator
import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from llmops_twins.aws.calls import AwsApiError

Fields = dict[str, Any]
"""The fields of a matching event: selector `$.path` is looked up in "$", `$name` is a field's text."""
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_TOKEN = re.compile(
    r'\s*(?:(&&|\|\||[()])|(\$[\w.\[\]*"@-]*)|(!=|>=|<=|=|>|<)|(IS|NOT|EXISTS|NULL|TRUE|FALSE)\b|"((?:[^"\\]|\\.)*)"'
    r"|%([^%]*)%|([^\s()&|=<>!]+))"
)
_TERM = re.compile(r'([-?]?)(?:"((?:[^"\\]|\\.)*)"|%([^%]*)%|(\S+))')
_FIELD = re.compile(r'"([^"]*)"|\[([^\]]*)\]|(\S+)')
_COLUMN = re.compile(r'^\s*([\w.]+|\.\.\.)?\s*(?:(!=|>=|<=|=|>|<)\s*(?:"([^"]*)"|(\S+)))?\s*$')
_MISSING = object()


@cache
def compiled(pattern: str) -> Callable[[str], Fields | None]:
    """Returns a function that returns a matching message's fields, and None for other messages.

    Raises:
        AwsApiError: InvalidParameterException, if the pattern can't be parsed.
    """
    text = pattern.strip()
    try:
        if text.startswith("{"):
            return _json(text)
        return _columns(text) if text.startswith("[") else _terms(text)
    except (ValueError, IndexError) as e:
        raise AwsApiError("InvalidParameterException", "Invalid filter pattern") from e


def selected(fields: Fields, selector: str) -> Any:
    """Returns the value of a selector (`$.score`, `$bytes`) or literal in a matching event; None if it is absent."""
    if not selector.startswith("$"):
        return selector
    if selector.startswith(("$.", "$[")):
        found = _at(fields.get("$"), selector)
        return None if found is _MISSING else found
    return fields.get(selector)


def _terms(text: str) -> Callable[[str], Fields | None]:
    terms = [
        (sign, re.compile(pattern) if pattern else re.compile(re.escape(_unescaped(quoted) or word)))
        for sign, quoted, pattern, word in _TERM.findall(text)
    ]
    optional = [term for sign, term in terms if sign == "?"]

    def match(message: str) -> Fields | None:
        needed = all(term.search(message) for sign, term in terms if sign == "")
        excluded = any(term.search(message) for sign, term in terms if sign == "-")
        some = not optional or any(term.search(message) for term in optional)
        return {} if needed and not excluded and some else None

    return match


def _columns(text: str) -> Callable[[str], Fields | None]:
    if not text.endswith("]"):
        raise ValueError(text)
    found = [_COLUMN.match(column) for column in text[1:-1].split(",")]
    if not all(found):
        raise ValueError(text)
    columns = [(match[1] or "", match[2], match[3] if match[3] is not None else match[4]) for match in found if match]
    gap = next((position for position, column in enumerate(columns) if column[0] == "..."), None)

    def match(message: str) -> Fields | None:
        values = ["".join(groups) for groups in _FIELD.findall(message)]
        named = columns
        if gap is not None:
            missing = len(values) - (len(columns) - 1)
            if missing < 0:
                return None
            named = [*columns[:gap], *[("", None, None)] * missing, *columns[gap + 1 :]]
        if len(named) != len(values):
            return None
        for (_, comparison, wanted), value in zip(named, values, strict=True):
            if comparison and not _compares(value, comparison, wanted, "*" in wanted):
                return None
        return {f"${name}": value for (name, _, _), value in zip(named, values, strict=True) if name}

    return match


def _json(text: str) -> Callable[[str], Fields | None]:
    if not text.endswith("}"):
        raise ValueError(text)
    condition = _FilterPatternParser(text[1:-1]).whole()

    def match(message: str) -> Fields | None:
        try:
            document = json.loads(message)
        except ValueError:
            return None
        return {"$": document} if isinstance(document, (dict, list)) and condition(document) else None

    return match


class _FilterPatternParser:
    """Parses the conditions of a JSON pattern; `&&` binds more tightly than `||`."""

    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, ...]] = []
        position, text = 0, text.rstrip()
        while position < len(text):
            match = _TOKEN.match(text, position)
            if not match:
                raise ValueError(text)
            self._tokens.append(tuple("" if group is None else group for group in match.groups(default=None)))
            self._tokens[-1] += ("quoted" if match[5] is not None else "pattern" if match[6] is not None else "",)
            position = match.end()
        self._next = 0

    def whole(self) -> Callable[[Any], bool]:
        condition = self._disjunction()
        if self._next != len(self._tokens):
            raise ValueError("more than a condition")
        return condition

    def _disjunction(self) -> Callable[[Any], bool]:
        parts = [self._conjunction()]
        while self._takes("||"):
            parts.append(self._conjunction())
        return parts[0] if len(parts) == 1 else lambda document: any(part(document) for part in parts)

    def _conjunction(self) -> Callable[[Any], bool]:
        parts = [self._condition()]
        while self._takes("&&"):
            parts.append(self._condition())
        return parts[0] if len(parts) == 1 else lambda document: all(part(document) for part in parts)

    def _condition(self) -> Callable[[Any], bool]:
        if self._takes("("):
            inner = self._disjunction()
            if not self._takes(")"):
                raise ValueError("a parenthesis is not closed")
            return inner
        selector = self._take()[1]
        if not selector:
            raise ValueError("a condition begins with a selector")
        token = self._take()
        if token[3] == "NOT" and self._take()[3] == "EXISTS":
            return lambda document: _at(document, selector) is _MISSING
        if token[3] == "IS":
            wanted = {"NULL": None, "TRUE": True, "FALSE": False}[self._take()[3]]
            return lambda document: _at(document, selector) is wanted
        comparison, value = token[2], self._take()
        if not comparison:
            raise ValueError("a selector is compared with something")
        if value[-1] == "pattern":
            pattern = re.compile(value[5])
            return lambda document: _searches(_at(document, selector), pattern, comparison)
        wanted_text = _unescaped(value[4]) if value[-1] == "quoted" else value[6] or value[3]
        wildcard = "*" in wanted_text
        return lambda document: _compares(_at(document, selector), comparison, wanted_text, wildcard)

    def _take(self) -> tuple[str, ...]:
        token = self._tokens[self._next]
        self._next += 1
        return token

    def _takes(self, sign: str) -> bool:
        taken = self._next < len(self._tokens) and self._tokens[self._next][0] == sign
        self._next += taken
        return taken


def _at(document: Any, selector: str) -> Any:
    """Returns the value at `$.a.b[0]` or `$['a']`; `_MISSING` if there is none."""
    for name, index in re.findall(r'\.([\w@-]+)|\[["\']?([^\]"\']+)["\']?\]', selector[1:]):
        if name or not index.isdigit():
            document = document.get(name or index, _MISSING) if isinstance(document, dict) else _MISSING
        else:
            within = isinstance(document, list) and int(index) < len(document)
            document = document[int(index)] if within else _MISSING
    return document


def _compares(value: Any, comparison: str, wanted: str, wildcard: bool) -> bool:
    if value is _MISSING or value is None:
        return False
    if comparison in _COMPARE:
        numbers = _float(value), _float(wanted)
        return None not in numbers and _COMPARE[comparison](*numbers)  # pyright: ignore[reportArgumentType]
    text = {True: "true", False: "false"}.get(value, str(value)) if isinstance(value, bool) else str(value)
    same = fnmatchcase(text, wanted) if wildcard else text == wanted
    if not same and (number := _float(value)) is not None and not isinstance(value, bool):
        same = number == _float(wanted)
    return same == (comparison == "=")


def _searches(value: Any, pattern: re.Pattern[str], comparison: str) -> bool:
    if value is _MISSING or value is None:
        return False
    return bool(pattern.search(str(value))) == (comparison == "=")


def _float(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)
