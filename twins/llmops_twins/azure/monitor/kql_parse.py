"""Parses the supported part of the Kusto query language: a table, then where, extend, project and summarize.

https://learn.microsoft.com/kusto/query
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_TOKENS = re.compile(
    r"""\s+|//[^\n]*
    |(?P<number>\d+(?:\.\d+)?)
    |(?P<text>@?'(?:[^'\\]|\\.)*'|@?"(?:[^"\\]|\\.)*")
    |(?P<name>[A-Za-z_]\w*)
    |(?P<sign>=~|==|!=|<=|>=|[-+*/<>=|(),.\[\]])
    """,
    re.X,
)
_COMPARISONS = {"==", "!=", "<", ">", "<=", ">=", "=~", "has", "in"}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


class QueryError(ValueError):
    """Error for an unsupported query; the text names the unsupported part and its position."""


@dataclass(frozen=True)
class QueryNode:
    """Part of an expression: `kind` is "value", "name", "member", "call", "list" or an operator, with `parts`."""

    kind: str
    value: Any = None
    parts: tuple["QueryNode", ...] = ()


@dataclass(frozen=True)
class QueryStep:
    """An operator after a `|`: its word, named expressions, and those after `by`."""

    word: str
    columns: tuple[tuple[str, QueryNode], ...] = ()
    by: tuple[tuple[str, QueryNode], ...] = ()


@dataclass(frozen=True)
class Query:
    """A table and the operators on its rows."""

    table: str
    steps: tuple[QueryStep, ...]


def parse(text: str) -> Query:
    """Returns a query of Kusto's language as its parts.

    Raises:
        QueryError: it uses unsupported syntax.
    """
    return _QueryParser(text).query()


class _QueryParser:
    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, str]] = []
        place = 0
        while place < len(text):
            match = _TOKENS.match(text, place)
            if not match:
                raise QueryError(f"'{text[place : place + 20]}' at character {place} is not understood by this twin")
            if match.lastgroup:
                self._tokens.append((match.lastgroup, match[0]))
            place = match.end()
        self._at = 0

    def query(self) -> Query:
        table, steps = self._take("name"), []
        while self._peek() == "|":
            self._next()
            steps.append(self._step())
        if self._at < len(self._tokens):
            raise QueryError(f"'{self._peek()}' is not understood by this twin: a | is expected")
        return Query(table, tuple(steps))

    def _step(self) -> QueryStep:
        word = self._take("name")
        if word == "where":
            return QueryStep("where", (("", self._expression()),))
        if word in ("extend", "project"):
            return QueryStep(word, self._columns())
        if word == "summarize":
            columns = () if self._peek() == "by" else self._columns()
            return QueryStep(word, columns, self._by())
        raise QueryError(f"the operator '{word}' is not understood by this twin")

    def _by(self) -> tuple[tuple[str, QueryNode], ...]:
        if self._peek() != "by":
            return ()
        self._next()
        return self._columns()

    def _columns(self) -> tuple[tuple[str, QueryNode], ...]:
        found = []
        while True:
            name = ""
            if self._peek(1) == "=" and self._kind() == "name":
                name = self._take("name")
                self._next()
            node = self._expression()
            found.append((name or _name_of(node, len(found)), node))
            if self._peek() != ",":
                return tuple(found)
            self._next()

    # -- expressions, from the weakest operator to the strongest ------------------------------------------------------

    def _expression(self) -> QueryNode:
        return self._chain(("or",), lambda: self._chain(("and",), self._comparison))

    def _chain(self, words: tuple[str, ...], inner: Callable[[], QueryNode]) -> QueryNode:
        node = inner()
        while self._peek() in words:
            word = self._next()
            node = QueryNode(word, None, (node, inner()))
        return node

    def _comparison(self) -> QueryNode:
        node = self._sum()
        if self._peek() not in _COMPARISONS:
            return node
        word = self._next()
        if word == "in":
            return QueryNode(word, None, (node, QueryNode("list", None, self._arguments())))
        return QueryNode(word, None, (node, self._sum()))

    def _sum(self) -> QueryNode:
        return self._chain(("+", "-"), lambda: self._chain(("*", "/"), self._unary))

    def _unary(self) -> QueryNode:
        if self._peek() == "-":
            self._next()
            return QueryNode("-", None, (QueryNode("value", 0), self._unary()))
        return self._members(self._primary())

    def _members(self, node: QueryNode) -> QueryNode:
        while self._peek() in (".", "["):
            if self._next() == ".":
                node = QueryNode("member", self._take("name"), (node,))
            else:
                node = QueryNode("member", self._primary().value, (node,))
                self._expect("]")
        return node

    def _primary(self) -> QueryNode:
        kind, text = self._kind(), self._next()
        if kind == "number":
            return QueryNode("value", float(text) if "." in text else int(text))
        if kind == "text":
            return QueryNode("value", _unquoted(text))
        if text == "(":
            node = self._expression()
            self._expect(")")
            return node
        if kind != "name":
            raise QueryError(f"'{text}' is not expected here")
        if text in ("true", "false"):
            return QueryNode("value", text == "true")
        if self._peek() == "(":
            return QueryNode("call", text.lower(), self._arguments())
        return QueryNode("name", text)

    def _arguments(self) -> tuple[QueryNode, ...]:
        self._expect("(")
        found = []
        while self._peek() != ")":
            found.append(self._expression())
            if self._peek() == ",":
                self._next()
        self._next()
        return tuple(found)

    # -- tokens -------------------------------------------------------------------------------------------------------

    def _kind(self) -> str:
        return self._tokens[self._at][0] if self._at < len(self._tokens) else ""

    def _peek(self, ahead: int = 0) -> str:
        place = self._at + ahead
        return self._tokens[place][1] if place < len(self._tokens) else ""

    def _next(self) -> str:
        if self._at >= len(self._tokens):
            raise QueryError("the query ends too early")
        self._at += 1
        return self._tokens[self._at - 1][1]

    def _take(self, kind: str) -> str:
        if self._kind() != kind:
            raise QueryError(f"a {kind} is expected, not '{self._peek()}'")
        return self._next()

    def _expect(self, text: str) -> None:
        if self._next() != text:
            raise QueryError(f"'{text}' is expected, not '{self._tokens[self._at - 1][1]}'")


def _unquoted(text: str) -> str:
    if text.startswith("@"):
        return text[2:-1]
    return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match[1], match[1]), text[1:-1])


def _name_of(node: QueryNode, number: int) -> str:
    """Returns the name of a column that the query does not name."""
    if node.kind == "name":
        return str(node.value)
    if node.kind == "call":
        return f"{node.value}_{node.parts[0].value if node.parts and node.parts[0].kind == 'name' else ''}"
    return f"Column{number + 1}"
