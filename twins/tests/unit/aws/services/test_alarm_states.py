"""The table of AWS's page on missing data, and the rules of composite alarms and of metric math."""

import pytest

from twins.aws.services.cloudwatch import expressions
from twins.aws.services.cloudwatch.evaluation import _state, _verdict
from twins.aws.wire.calls import ApiError

RETAINED = "OK"
# Data points oldest first: X breaches, 0 does not, - is missing. Then the state by how missing data are treated.
THREE_OF_THREE = {
    "0 - X - X": ("OK", "OK", "OK", "OK"),
    "- - - - 0": ("OK", "OK", "OK", "OK"),
    "- - - - -": ("INSUFFICIENT_DATA", RETAINED, "ALARM", "OK"),
    "0 X X - X": ("ALARM", "ALARM", "ALARM", "ALARM"),
    "- - X - -": ("ALARM", RETAINED, "ALARM", "OK"),
}
TWO_OF_THREE = {
    "0 - X - X": ("ALARM", "ALARM", "ALARM", "ALARM"),
    "0 0 X 0 X": ("ALARM", "ALARM", "ALARM", "ALARM"),
    "0 - X - -": ("OK", "OK", "ALARM", "OK"),
    "- - - - 0": ("OK", "OK", "ALARM", "OK"),
    "- - - X -": ("ALARM", RETAINED, "ALARM", "OK"),
}
TREATMENTS = ("missing", "ignore", "breaching", "notBreaching")
CASES = [
    (points, needed, treatment, state)
    for needed, table in ((3, THREE_OF_THREE), (2, TWO_OF_THREE))
    for points, states in table.items()
    for treatment, state in zip(TREATMENTS, states, strict=True)
]


@pytest.mark.parametrize(("points", "needed", "treatment", "state"), CASES)
def test_state_by_the_data_points_that_are_there(points: str, needed: int, treatment: str, state: str) -> None:
    newest_first = reversed(points.split())
    real = [(back, point == "X") for back, point in enumerate(newest_first, start=1) if point != "-"]
    alarm = {"TreatMissingData": treatment, "StateValue": RETAINED}
    assert _state(alarm, real, 3, needed) == state


def test_a_threshold_can_be_a_series() -> None:
    alarm = {"ComparisonOperator": "GreaterThanThreshold", "EvaluationPeriods": 1, "StateValue": "OK"}
    assert _verdict(alarm, [5.0, 7.0, 9.0], [10.0, 10.0, 8.0])[0] == "ALARM"
    assert _verdict(alarm, [5.0, 7.0, 9.0], [10.0, 10.0, 10.0])[0] == "OK"


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        ('ALARM("a")', True),
        ('ALARM(a) AND OK("b")', True),
        ("ALARM(b) OR ALARM(a)", True),
        ("NOT ALARM(a)", False),
        ("OK(b) AND (ALARM(b) OR INSUFFICIENT_DATA(c))", True),
        ("FALSE OR TRUE AND FALSE", False),
    ],
)
def test_rule_of_a_composite_alarm(rule: str, value: bool) -> None:
    states = {"a": "ALARM", "b": "OK", "c": "INSUFFICIENT_DATA"}
    assert expressions.holds(rule, states.__getitem__) is value


@pytest.mark.parametrize("rule", ["", "ALARM(a", "ALARM(a) OK(b)", "a", "(ALARM(a)"])
def test_rule_that_can_not_be_read_is_refused(rule: str) -> None:
    with pytest.raises(ApiError):
        expressions.holds(rule, lambda _name: "OK")


@pytest.mark.parametrize(
    ("expression", "values"),
    [
        ("a + b", [11.0, None, 33.0]),
        ("100 * a / b", [10.0, None, 10.0]),
        ("FILL(b, 0)", [10.0, 0.0, 30.0]),
        ("FILL(b, REPEAT)", [10.0, 10.0, 30.0]),
        ("IF(a > 1, a, 0)", [0.0, 2.0, 3.0]),
        ("IF(a > 1 AND b > 20, 1, 0)", [0, None, 1]),
        ("SUM([a, b])", [11.0, 2.0, 33.0]),
        ("MAX(a)", [3.0, 3.0, 3.0]),
        ("AVG(METRICS())", [5.5, 2.0, 16.5]),
        ("a ^ 2", [1.0, 4.0, 9.0]),
        ("a / (a - 2)", [-1.0, None, 3.0]),
    ],
)
def test_metric_math(expression: str, values: list[float | None]) -> None:
    series = {"a": [1.0, 2.0, 3.0], "b": [10.0, None, 30.0]}
    queries = [{"Id": "e", "Expression": expression}, *({"Id": name, "MetricStat": {"name": name}} for name in series)]
    assert expressions.evaluate(queries, lambda stat: series[stat["name"]], 3, 60)["e"] == values


@pytest.mark.parametrize("expression", ["a +", "nothing + 1", "SEARCH('x')", "__import__('os')", "a.b", "lambda: a"])
def test_expression_that_can_not_be_evaluated_is_refused(expression: str) -> None:
    queries = [{"Id": "e", "Expression": expression}, {"Id": "a", "MetricStat": {}}]
    with pytest.raises(ApiError, match="Error in expression"):
        expressions.evaluate(queries, lambda _stat: [1.0], 1, 60)
