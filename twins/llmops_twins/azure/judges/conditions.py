"""Conditions of role assignments: the part of Azure's language that the kit's conditions and Azure's samples use.

`((!(ActionMatches{'…/write'})) OR (@Request[…:RoleDefinitionId] ForAnyOfAnyValues:GuidEquals {a, b}))`
https://learn.microsoft.com/azure/role-based-access-control/conditions-format
https://learn.microsoft.com/azure/role-based-access-control/delegate-role-assignments-examples

It fails closed: a condition that can't be parsed is refused when the assignment is created, and an attribute that
neither request nor resource has makes a comparison unknown. NOT of unknown is unknown too, and unknown allows nothing.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase

Attributes = Mapping[str, str]
"""Attributes of a request: "@Request[type:name]" or "@Resource[type:name]" in lower case -> value."""
SUB_OPERATION = "suboperation"
"""The attribute for the suboperation of an action: Blob.List is one of reading blobs."""
Condition = Callable[[str, Attributes], bool]
"""Returns whether an assignment applies to an action with these attributes."""
_Part = Callable[[str, Attributes], bool | None]  # None: unknown

_TOKEN = re.compile(
    r"\s*(?:(?P<attribute>@\w+\[[^\]]+\])|(?P<text>'(?:[^']|'')*')|(?P<word>[\w:.-]+)|(?P<sign>&&|\|\||[(){},!]))"
)
_COMPARE: dict[str, Callable[[str, str], bool]] = {
    "stringequals": lambda found, wanted: found == wanted,
    "stringnotequals": lambda found, wanted: found != wanted,
    "stringequalsignorecase": lambda found, wanted: found.lower() == wanted.lower(),
    "stringlike": lambda found, wanted: fnmatchcase(found, wanted.replace("[", "[[]")),
    "stringnotlike": lambda found, wanted: not fnmatchcase(found, wanted.replace("[", "[[]")),
    "stringstartswith": str.startswith,
    "guidequals": lambda found, wanted: found.lower() == wanted.lower(),
    "guidnotequals": lambda found, wanted: found.lower() != wanted.lower(),
}
# An attribute has one value here, so the first quantifier doesn't matter; `AllValues` is for negated comparisons.
_QUANTIFIERS = {"foranyofanyvalues": any, "foranyofallvalues": all, "forallofanyvalues": any, "forallofallvalues": all}


def parse(text: str) -> Condition:
    """Returns a role assignment's condition as a tree that can be judged.

    Raises:
        ValueError: it is malformed, or uses unsupported syntax.
    """
    reader = _Reader(text)
    part = reader.either()
    if reader.left():
        raise ValueError(f"unexpected {reader.left()[0]!r}")
    return lambda action, attributes: part(action, attributes) is True


class _Reader:
    """Parses tokens from left to right; AND binds more tightly than OR."""

    def __init__(self, text: str) -> None:
        self._tokens: list[str] = []
        end = len(text.rstrip())
        at = 0
        while at < end:
            found = _TOKEN.match(text, at)
            if not found:
                raise ValueError(f"unexpected {text[at : at + 20]!r}")
            self._tokens.append(found[found.lastgroup or 0])
            at = found.end()

    def left(self) -> list[str]:
        """Returns the remaining tokens."""
        return self._tokens

    def either(self) -> _Part:
        """Parses A OR B OR …."""
        parts = [self._both()]
        while self._take("or", "||"):
            parts.append(self._both())
        return lambda action, attributes: _any(part(action, attributes) for part in parts)

    def _both(self) -> _Part:
        parts = [self._one()]
        while self._take("and", "&&"):
            parts.append(self._one())
        return lambda action, attributes: _not(_any(_not(part(action, attributes)) for part in parts))

    def _one(self) -> _Part:
        if self._take("!", "not"):
            inner = self._one()
            return lambda action, attributes: _not(inner(action, attributes))
        if self._take("("):
            inner = self.either()
            self._need(")")
            return inner
        if self._take("actionmatches"):
            patterns = [pattern.lower() for pattern in self._values()]
            return lambda action, _: any(fnmatchcase(action.lower(), pattern) for pattern in patterns)
        if self._take("suboperationmatches"):
            operations = [operation.lower() for operation in self._values()]
            return lambda _, attributes: attributes.get(SUB_OPERATION, "").lower() in operations
        return self._comparison()

    def _comparison(self) -> _Part:
        attribute = self._next().lower()
        quantifier, _, operator = self._next().lower().rpartition(":")
        compare, combine = _COMPARE.get(operator), _QUANTIFIERS.get(quantifier or "foranyofanyvalues")
        if not attribute.startswith(("@request[", "@resource[")) or compare is None or combine is None:
            raise ValueError(f"{attribute} {operator} is not understood")
        wanted = self._values()

        def holds(_action: str, attributes: Attributes) -> bool | None:
            found = attributes.get(attribute)
            return None if found is None else combine(compare(found, each) for each in wanted)

        return holds

    def _values(self) -> list[str]:
        """Parses {'a', 'b'} or 'a'."""
        if not self._take("{"):
            return [_plain(self._next())]
        values = [_plain(self._next())]
        while self._take(","):
            values.append(_plain(self._next()))
        self._need("}")
        return values

    def _take(self, *words: str) -> bool:
        if self._tokens and self._tokens[0].lower() in words:
            self._tokens.pop(0)
            return True
        return False

    def _need(self, word: str) -> None:
        if not self._take(word):
            raise ValueError(f"{word!r} is missing")

    def _next(self) -> str:
        if not self._tokens:
            raise ValueError("it ends too early")
        return self._tokens.pop(0)


def _any(parts: Iterable[bool | None]) -> bool | None:
    found = set(parts)
    return True if True in found else None if None in found else False


def _not(part: bool | None) -> bool | None:
    return None if part is None else not part


def _plain(token: str) -> str:
    return token[1:-1].replace("''", "'") if token.startswith("'") else token
