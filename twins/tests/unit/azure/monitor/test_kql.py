"""The part of the Kusto query language that the twin reads."""

from typing import Any

import pytest

from llmops_twins.azure.monitor.kql import QueryError, Table, run

ROWS: list[dict[str, Any]] = [
    {"TimeGenerated": 10.0, "Name": "blue", "Code": "200", "Model": "200", "Said": '{"event": "quality", "score": 1}'},
    {"TimeGenerated": 20.0, "Name": "Blue", "Code": "424", "Model": "500", "Said": "plain words"},
    {"TimeGenerated": 30.0, "Name": "green", "Code": "429", "Model": "", "Said": '{"a": {"b": [7]}}'},
]


def table(name: str) -> Table:
    if name != "Requests":
        raise QueryError(f"no table {name}")
    return list(ROWS[0]), ROWS


def answer(text: str) -> list[list[Any]]:
    columns, rows = run(f"Requests\n{text}", table)
    return [[row.get(name) for name in columns] for row in rows]


@pytest.mark.parametrize(
    ("condition", "names"),
    [
        ("Name =~ 'BLUE'", ["blue", "Blue"]),
        ("Name == 'blue' or toint(Code) >= 429", ["blue", "green"]),
        ("Code in ('424', '429') and Name != 'green'", ["Blue"]),
        ("Said has '\"quality\"'", ["blue"]),
        ("Said has 'word'", []),
        ("Said has 'words' // a comment\n", ["Blue"]),
        ("toint(Model) > 0", ["blue", "Blue"]),
        ("isnotnull(toint(Model))", ["blue", "Blue"]),
        ("parse_json(Said).a.b[0] == 7", ["green"]),
        ("2 * (1 + 2) - -1 == 7 and TimeGenerated < 15", ["blue"]),
    ],
)
def test_where(condition: str, names: list[str]) -> None:
    assert [row[0] for row in answer(f"| where {condition} | project Name")] == names


def test_columns_are_added_and_grouped() -> None:
    text = "| extend Good = Code == '200' | summarize Number = count(), Worst = max(toint(Code)) by Good"
    assert answer(text) == [[True, 1, 200], [False, 2, 429]]


def test_shares_are_real_numbers_and_of_nothing_no_number() -> None:
    share = "summarize Value = todouble(countif(toint(Code) >= 424)) / count()"
    assert answer(f"| {share}") == [[pytest.approx(2 / 3)]]
    assert answer("| summarize Value = countif(toint(Code) >= 424) / count()") == [[0]]  # whole numbers stay whole
    [[nothing]] = answer(f"| where false | {share}")
    assert nothing != nothing
    assert answer("| where false | summarize Value = min(toint(Code)) | where isnotnull(Value)") == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("| render timechart", "the operator 'render' is not understood"),
        ("| top 1 by Name", "the operator 'top' is not understood"),
        ("| where tolower(Name) == 'x'", "the function 'tolower' is not understood"),
        ("| where Name between (1 .. 2)", "a | is expected"),
        ("| where Nobody == 1", "named 'Nobody'"),
        ("| where magic(Name)", "the function 'magic' is not understood"),
        ("| where Name == ", "ends too early"),
        ("| where count() > 1", "is for summarize"),
        ("| where Name ? 1", "is not understood"),
    ],
)
def test_what_is_not_understood(text: str, words: str) -> None:
    with pytest.raises(QueryError, match=words.replace("(", r"\(").replace(")", r"\)")):
        answer(text)
