"""Metric math of alarms: expressions of IF, FILL, arithmetic, comparisons and AND, OR, point by point.

Functions over a whole time series (SUM of one metric, RUNNING_SUM) depend on how many periods CloudWatch retrieves, and
are not judged; nor are arrays of time series.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html
"""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from llmops_twins.aws.calls import AwsApiError, not_judged

_TOKEN = re.compile(r"\s*(?:(\d+\.?\d*|\.\d+)|([A-Za-z]\w*)|(==|!=|<=|>=|&&|\|\||[-+*/^<>(),]))")
_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
_ARITHMETIC: dict[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "^": operator.pow,
}


@dataclass(frozen=True)
class MathValue:
    """A value at a time: of a time series, which may miss it (None), or a scalar."""

    value: float | None
    is_series: bool = True


def evaluate(expression: str, values: Mapping[str, float | None]) -> MathValue:
    """Returns an expression's value at a time from those of the time series in it.

    Raises:
        AwsApiError: the expression is malformed, names an unknown metric, or uses what the twin does not judge.
    """
    return _Parser(expression, values).parse()


class _Parser:
    """Evaluates by recursive descent, loosest operators first."""

    def __init__(self, expression: str, values: Mapping[str, float | None]) -> None:
        self._expression = expression
        self._values = values
        self._tokens = self._split(expression)

    def parse(self) -> MathValue:
        found = self._either()
        if self._tokens:
            raise self._malformed(f"unexpected {self._tokens[0]}")
        return found

    def _split(self, expression: str) -> list[str]:
        tokens, position = [], 0
        while rest := expression[position:].strip():
            match = _TOKEN.match(expression, position)
            if match is None:
                raise self._malformed(f"unexpected {rest[0]}")
            tokens.append(match.group().strip())
            position = match.end()
        return tokens

    def _malformed(self, what: str) -> AwsApiError:
        # unsure (60 %): the words; that it is refused is certain
        return AwsApiError("ValidationError", f"Error in expression '{self._expression}': {what}.")

    def _takes(self, *tokens: str) -> str:
        """Takes the next token if it is one of these, and returns it; empty if it is not."""
        return self._tokens.pop(0) if self._tokens and self._tokens[0] in tokens else ""

    def _expect(self, token: str) -> None:
        if not self._takes(token):
            raise self._malformed(f"missing {token}")

    def _either(self) -> MathValue:
        found = self._both()
        while self._takes("OR", "||"):
            found = _combined(found, self._both(), lambda a, b: float(bool(a) or bool(b)))
        return found

    def _both(self) -> MathValue:
        found = self._comparison()
        while self._takes("AND", "&&"):
            found = _combined(found, self._comparison(), lambda a, b: float(bool(a) and bool(b)))
        return found

    def _comparison(self) -> MathValue:
        found = self._sum()
        if token := self._takes(*_COMPARISONS):
            compare = _COMPARISONS[token]
            return _combined(found, self._sum(), lambda a, b: float(compare(a, b)))
        return found

    def _sum(self) -> MathValue:
        found = self._product()
        while token := self._takes("+", "-"):
            found = _combined(found, self._product(), _ARITHMETIC[token])
        return found

    def _product(self) -> MathValue:
        found = self._signed()
        while token := self._takes("*", "/"):
            found = _combined(found, self._signed(), _ARITHMETIC[token])
        return found

    def _signed(self) -> MathValue:
        if self._takes("-"):
            return _combined(MathValue(0.0, is_series=False), self._signed(), operator.sub)
        found = self._atom()
        return _combined(found, self._signed(), operator.pow) if self._takes("^") else found

    def _atom(self) -> MathValue:
        if not self._tokens:
            raise self._malformed("it ends too early")
        token = self._tokens.pop(0)
        if token == "(":
            found = self._either()
            self._expect(")")
            return found
        if token[0].isdigit() or token[0] == ".":
            return MathValue(float(token), is_series=False)
        if token == "IF":
            return _chosen(*self._arguments(2, 3))
        if token == "FILL":
            return self._filled()
        if token in self._values:
            return MathValue(self._values[token])
        if token[0].isupper() and self._tokens[:1] == ["("]:
            if (
                token == "SEARCH"
            ):  # https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-search-expressions.html
                raise self._malformed("SEARCH is not supported for alarms")
            raise not_judged(f"metric math: {token}")
        raise self._malformed(f"no metric has the id {token}")

    def _arguments(self, least: int, most: int) -> list[MathValue]:
        self._expect("(")
        found = [self._either()]
        while self._takes(","):
            found.append(self._either())
        self._expect(")")
        if not least <= len(found) <= most:
            raise self._malformed(f"{len(found)} arguments instead of {least} to {most}")
        return found

    def _filled(self) -> MathValue:
        """Returns FILL of a time series by a scalar or another series."""
        if self._tokens[2:4] in ([",", "REPEAT"], [",", "LINEAR"]):
            raise not_judged("metric math: FILL with REPEAT or LINEAR")
        series, filler = self._arguments(2, 2)
        return MathValue(filler.value if series.value is None else series.value)


def _combined(left: MathValue, right: MathValue, operation: Callable[[float, float], float]) -> MathValue:
    """Applies an operator. A value that one of two series misses counts as 0; a division by zero drops the value."""
    is_series = left.is_series or right.is_series
    there = [each.value is not None for each in (left, right) if each.is_series]
    if there and not any(there):
        return MathValue(None)
    try:
        return MathValue(float(operation(left.value or 0.0, right.value or 0.0)), is_series)
    except ZeroDivisionError:
        return MathValue(None)


def _chosen(condition: MathValue, yes: MathValue, no: MathValue | None = None) -> MathValue:
    """Returns IF: dropped without a condition; 0 where a series misses the value that the condition chooses as true."""
    is_series = any(each.is_series for each in (condition, yes, no) if each)
    if condition.value is None:
        return MathValue(None)
    if condition.value:
        missing = yes.value is None and condition.is_series
        return MathValue(0.0 if missing else yes.value, is_series)
    return MathValue(no.value if no else None, is_series or no is None)
