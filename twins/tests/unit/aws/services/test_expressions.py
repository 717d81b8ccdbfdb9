"""Metric math by the tables of AWS's page, and what no alarm may have:
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html
"""

from typing import Any

import pytest

from llmops_twins.aws.calls import AwsApiError
from llmops_twins.aws.services.cloudwatch.expressions import evaluate
from llmops_twins.aws.services.cloudwatch.metric_queries import evaluate_all, period_of, refuse_bad_metrics

Series = list[float | None]


@pytest.mark.parametrize(
    ("expression", "series", "expected"),
    [
        # Comparison and logical operators
        ("(m1 < m2)", {"m1": [30, 20, 0, 0], "m2": [20, None, 20, None]}, [0, 0, 1, 0]),
        ("(m1 >= 30)", {"m1": [30, 20, 0, 0]}, [1, 0, 0, 0]),
        ("(m1 > 15 AND m2 > 15)", {"m1": [30, 20, 0, 0], "m2": [20, None, 20, None]}, [1, 0, 0, 0]),
        ("m1 > 15 || m2 > 15", {"m1": [30, 0], "m2": [None, 0]}, [1, 0]),
        # Using IF expressions
        (
            "IF(m1, m2, m3)",
            {"m1": [1, 1, 0, 0, None], "m2": [30, None, 0, 0, 30], "m3": [0, 0, 20, None, 20]},
            [30, 0, 20, None, None],
        ),
        ("IF(m1, 5, m3)", {"m1": [1, 1, 0, 0, None], "m3": [0, 0, 20, None, 20]}, [5, 5, 20, None, None]),
        ("IF(m1, m2, 5)", {"m1": [1, 1, 0, 0, None], "m2": [30, None, 0, 0, 30]}, [30, 0, 5, 5, None]),
        ("IF(m1 < 400, m1)", {"m1": [300, 500, None]}, [300, None, None]),
        ("IF(m1 < 400, 10, 2)", {"m1": [300, 500, None]}, [10, 2, None]),
        # Basic arithmetic functions: what is missing is 0, and what divides by zero is dropped
        ("100 * bad / all", {"bad": [1, None, 1, None, 1], "all": [4, 4, 0, None, None]}, [25, 0, None, None, None]),
        ("-5 * m1 + 2 ^ 3", {"m1": [1, None]}, [3, None]),
        ("(m1 - m2) / 2", {"m1": [6], "m2": [2]}, [2]),
        ("FILL(m1, 10)", {"m1": [1, None]}, [1, 10]),
        ("IF(FILL(bad, 0) >= 5, rate, 0)", {"bad": [4, 5, None], "rate": [1, 0.5, None]}, [0, 0.5, 0]),
    ],
)
def test_an_expression_by_point(expression: str, series: dict[str, Series], expected: Series) -> None:
    points = len(next(iter(series.values())))
    values = [{name: values[at] for name, values in series.items()} for at in range(points)]
    assert [evaluate(expression, each).value for each in values] == expected


@pytest.mark.parametrize("expression", ["m1 +", "m1 m1", "(m1", "m2 * 2", "m1 $ 2", "IF(m1)", "SEARCH(' {A} ', 'Sum')"])
def test_a_malformed_expression_is_refused(expression: str) -> None:
    with pytest.raises(AwsApiError) as refused:
        evaluate(expression, {"m1": 1.0})
    assert refused.value.code == "ValidationError"


@pytest.mark.parametrize("expression", ["SUM(m1)", "RUNNING_SUM(m1)", "FILL(m1, REPEAT)"])
def test_a_function_over_a_series_is_not_judged(expression: str) -> None:
    with pytest.raises(AwsApiError) as refused:
        evaluate(expression, {"m1": 1.0})
    assert refused.value.code == "NotImplemented"


def metric(id_: str, **other: Any) -> dict[str, Any]:
    stat = {"Metric": {"Namespace": "N", "MetricName": "M"}, "Period": 300, "Stat": "Sum"}
    return {"Id": id_, "MetricStat": stat | other, "ReturnData": False}


def expression(text: str, id_: str = "result", **other: Any) -> dict[str, Any]:
    return {"Id": id_, "Expression": text, **other}


GOOD = [metric("errors"), expression("errors / 2")]


def test_an_alarm_on_an_expression_may_name_another_that_stands_after_it() -> None:
    queries = [expression("half * 3"), metric("errors"), expression("errors / 2", "half", ReturnData=False)]
    refuse_bad_metrics({"Metrics": queries})
    assert period_of({"Metrics": queries}) == 300
    assert evaluate_all(queries, {"errors": 4.0}) == (6.0, True)


@pytest.mark.parametrize(
    "given",
    [
        {"Metrics": GOOD, "Period": 60},
        {"Metrics": GOOD, "Dimensions": [{"Name": "a", "Value": "b"}]},
        {"Metrics": [metric("errors")]},
        {"Metrics": [*GOOD, expression("errors", "second")]},
        {"Metrics": [metric("Errors"), expression("1 + 1")]},
        {"Metrics": [metric("errors"), metric("errors"), expression("errors")]},
        {"Metrics": [metric("errors"), metric("all", Period=60), expression("errors / all")]},
        {"Metrics": [metric("errors"), expression("1 + 1")]},
        {"Metrics": [metric("errors"), expression("other"), expression("result", "other", ReturnData=False)]},
        {"Metrics": [*(metric(f"m{number}") for number in range(11)), expression("m1")]},
        {"Metrics": [{"Id": "result"}]},
    ],
    ids=[
        "a period beside", "dimensions beside", "nothing watched", "two watched", "a capital letter", "an id twice",
        "two periods", "a scalar", "a circle", "eleven metrics", "neither metric nor expression",
    ],
)  # fmt: skip
def test_what_no_alarm_on_an_expression_may_be_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(AwsApiError) as refused:
        refuse_bad_metrics(given)
    assert refused.value.code == "ValidationError"
