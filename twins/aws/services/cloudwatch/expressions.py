"""The two small languages of CloudWatch: metric math over series, and the rules of composite alarms.

Metric math: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html (arithmetic,
comparison, AND and OR, and the functions below); anything else is refused by name.
"""

import ast
import operator
import re
from collections.abc import Callable
from typing import Any

from twins.aws.services.documents import Document
from twins.aws.wire.calls import ApiError

Series = list[float | None]
"""A value for each period, oldest first; None where there are no data."""
_OPERATORS: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.And: lambda left, right: bool(left) and bool(right),
    ast.Or: lambda left, right: bool(left) or bool(right),
}
_FUNCTIONS = ("ABS", "AVG", "CEIL", "FILL", "FLOOR", "IF", "MAX", "METRICS", "MIN", "PERIOD", "SUM")
_REPEAT = "REPEAT"  # what FILL may be told: the last value
_RULE = re.compile(
    r'\s*(?:(ALARM|OK|INSUFFICIENT_DATA)\s*\(\s*(?:"([^"]+)"|([^")\s]+))\s*\)|(AND|OR|NOT|TRUE|FALSE|[()]))'
)


def evaluate(
    queries: list[Document], series: Callable[[Document], Series], length: int, period: float
) -> dict[str, Series]:
    """The series of each query by its Id; `series` reads those of a MetricStat.

    Raises:
        ApiError: an expression can't be read, or uses what this twin does not know.
    """
    found: dict[str, Series] = {}
    waiting = list(queries)
    for query in queries:
        if "MetricStat" in query:
            found[query["Id"]] = series(query["MetricStat"])
            waiting.remove(query)
    metrics = dict(found)
    for _ in range(len(waiting) + 1):  # an expression may use one that comes later
        for query in list(waiting):
            tree = _parsed(query["Expression"])
            if _names(tree) <= set(found):
                found[query["Id"]] = _Evaluation(found, metrics, length, period).series(tree)
                waiting.remove(query)
    if waiting:
        names = ", ".join(sorted(_names(_parsed(waiting[0]["Expression"])) - set(found)))
        raise _error(waiting[0]["Expression"], f"unknown ids: {names}")
    return found


def check(queries: list[Document]) -> None:
    """Raise unless all expressions can be evaluated."""
    evaluate(queries, lambda _stat: [None], 1, 60.0)


def alarms_in(rule: str) -> list[str]:
    """Names or ARNs of the alarms that a composite alarm's rule watches."""
    return [token[1] for token in _tokens(rule) if token[0] in ("ALARM", "OK", "INSUFFICIENT_DATA")]


def holds(rule: str, state: Callable[[str], str]) -> bool:
    """Is a composite alarm's rule true? `state` gives an alarm's by name or ARN.

    Raises:
        ApiError: the rule can't be read.
    """
    tokens = _tokens(rule)
    parser = _Rule(tokens, state)
    value = parser.disjunction()
    if parser.position != len(tokens):
        raise ApiError("ValidationError", f"AlarmRule is not valid: {rule}")
    return value


class _Evaluation:
    def __init__(self, found: dict[str, Series], metrics: dict[str, Series], length: int, period: float) -> None:
        self._found, self._metrics, self._length, self._period = found, metrics, length, period

    def series(self, tree: ast.AST) -> Series:
        value = self._value(tree)
        if isinstance(value, list) and value and isinstance(value[0], list):
            raise ApiError("ValidationError", "The expression returns several time series.")
        return value if isinstance(value, list) else [value] * self._length

    def _value(self, tree: ast.AST) -> Any:
        if isinstance(tree, ast.Name):
            return _REPEAT if tree.id == _REPEAT else self._found[tree.id]
        if isinstance(tree, ast.Constant):
            return tree.value if isinstance(tree.value, str) else float(tree.value)  # pyright: ignore[reportArgumentType]
        if isinstance(tree, ast.List):
            return [self._value(element) for element in tree.elts]
        if isinstance(tree, ast.UnaryOp):
            sign = -1 if isinstance(tree.op, ast.USub) else 1
            return self._each(lambda number: sign * number, self._value(tree.operand))
        if isinstance(tree, ast.BinOp):
            return self._each(_OPERATORS[type(tree.op)], self._value(tree.left), self._value(tree.right))
        if isinstance(tree, ast.Compare):
            return self._each(_OPERATORS[type(tree.ops[0])], self._value(tree.left), self._value(tree.comparators[0]))
        if isinstance(tree, ast.BoolOp):
            value = self._value(tree.values[0])
            for operand in tree.values[1:]:
                value = self._each(_OPERATORS[type(tree.op)], value, self._value(operand))
            return value
        assert isinstance(tree, ast.Call)
        assert isinstance(tree.func, ast.Name)
        return self._function(tree.func.id, [self._value(argument) for argument in tree.args])

    def _function(self, name: str, arguments: list[Any]) -> Any:
        if name == "METRICS":
            wanted = arguments[0] if arguments else ""
            return [series for key, series in self._metrics.items() if wanted in key]
        if name == "PERIOD":
            return self._period
        if name == "FILL":
            return self._fill(*arguments)
        if name == "IF":
            return self._choose(*arguments)
        if name in ("ABS", "CEIL", "FLOOR"):
            import math

            return self._each({"ABS": abs, "CEIL": math.ceil, "FLOOR": math.floor}[name], arguments[0])
        return self._aggregate(name, arguments[0] if len(arguments) == 1 else arguments)

    def _aggregate(self, name: str, argument: Any) -> Any:
        reduce = {"SUM": sum, "MIN": min, "MAX": max, "AVG": lambda values: sum(values) / len(values)}[name]
        several = argument if argument and isinstance(argument[0], list) else None
        if several is None:  # of one series: a number
            numbers = [number for number in argument if number is not None]
            return reduce(numbers) if numbers else None
        rows = [[number for number in row if number is not None] for row in zip(*several, strict=True)]
        return [reduce(row) if row else None for row in rows]

    def _fill(self, series: Any, value: Any) -> Any:
        if series and isinstance(series[0], list):
            return [self._fill(one, value) for one in series]
        others = value if isinstance(value, list) else [value] * len(series)
        if value == _REPEAT:
            last: float | None = None
            others = []
            for number in series:
                last = last if number is None else number
                others.append(last)
        return [other if number is None else number for number, other in zip(series, others, strict=True)]

    def _choose(self, condition: Any, yes: Any, no: Any = None) -> Any:
        columns = [value if isinstance(value, list) else [value] * self._length for value in (condition, yes, no)]
        return [None if test is None else (then if test else other) for test, then, other in zip(*columns, strict=True)]

    def _each(self, function: Callable[..., Any], *operands: Any) -> Any:
        if not any(isinstance(operand, list) for operand in operands):
            return None if None in operands else _number(function, *operands)
        columns = [operand if isinstance(operand, list) else [operand] * self._length for operand in operands]
        return [None if None in row else _number(function, *row) for row in zip(*columns, strict=True)]


class _Rule:
    """Recursive descent: OR binds less than AND, and that less than NOT."""

    def __init__(self, tokens: list[tuple[str, str]], state: Callable[[str], str]) -> None:
        self._tokens, self._state, self.position = tokens, state, 0

    def disjunction(self) -> bool:
        value = self._conjunction()
        while self._takes("OR"):
            value = self._conjunction() or value
        return value

    def _conjunction(self) -> bool:
        value = self._negation()
        while self._takes("AND"):
            value = self._negation() and value
        return value

    def _negation(self) -> bool:
        if self._takes("NOT"):
            return not self._negation()
        if self._takes("("):
            value = self.disjunction()
            if not self._takes(")"):
                raise ApiError("ValidationError", "AlarmRule is not valid: a parenthesis is not closed")
            return value
        if self.position >= len(self._tokens):
            raise ApiError("ValidationError", "AlarmRule is not valid: it ends too early")
        kind, name = self._tokens[self.position]
        self.position += 1
        if kind in ("TRUE", "FALSE"):
            return kind == "TRUE"
        if kind not in ("ALARM", "OK", "INSUFFICIENT_DATA"):
            raise ApiError("ValidationError", f"AlarmRule is not valid: {kind} stands where an alarm should")
        return self._state(name) == kind

    def _takes(self, kind: str) -> bool:
        taken = self.position < len(self._tokens) and self._tokens[self.position][0] == kind
        self.position += taken
        return taken


def _tokens(rule: str) -> list[tuple[str, str]]:
    found, position = [], 0
    rule = rule.strip()
    while position < len(rule):
        match = _RULE.match(rule, position)
        if not match:
            raise ApiError("ValidationError", f"AlarmRule is not valid at {rule[position : position + 20]!r}")
        found.append((match[1] or match[4], match[2] or match[3] or ""))
        position = match.end()
    if not found:
        raise ApiError("ValidationError", "AlarmRule is empty")
    return found


def _parsed(expression: str) -> ast.AST:
    text = re.sub(r"\bAND\b|&&", " and ", expression.replace("^", "**"))
    text = re.sub(r"\bOR\b|\|\|", " or ", text)
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as e:
        raise _error(expression, "syntax") from e
    allowed = (ast.Name, ast.Constant, ast.List, ast.UnaryOp, ast.BinOp, ast.Compare, ast.BoolOp, ast.Call)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and not (isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS):
            raise _error(expression, f"this twin knows the functions {', '.join(_FUNCTIONS)}")
        if isinstance(node, ast.expr) and not isinstance(node, allowed):
            raise _error(expression, "syntax")
    return tree


def _names(tree: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} - {*_FUNCTIONS, _REPEAT}


def _number(function: Callable[..., Any], *operands: float) -> float | None:
    try:
        return float(function(*operands))
    except (ZeroDivisionError, OverflowError):
        return None


def _error(expression: str, reason: str) -> ApiError:
    return ApiError("ValidationError", f"Error in expression '{expression}': {reason}")
