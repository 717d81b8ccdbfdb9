"""Filter patterns, by the examples of AWS's own page on them."""

import json

import pytest

from llmops_twins.aws.calls import AwsApiError
from llmops_twins.aws.services.logs.patterns import compiled, selected

EVENT = json.dumps(
    {
        "event": "quality",
        "score": 0.5,
        "ok": False,
        "gone": None,
        "users": [{"name": "Ann", "id": 7}],
        "path": "/v1/chat",
        "@type": "x",
    }
)
LINE = '127.0.0.1 Prod frank [10/Oct/2000:13:25:15 -0700] "GET /index.html HTTP/1.0" 404 1534'


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ('{ $.event = "quality" }', True),
        ('{ $.event != "quality" }', False),
        ('{ $.event = "qual*" }', True),
        ("{ $.event = quality }", True),
        ("{ $.score < 0.8 }", True),
        ("{ $.score >= 0.8 }", False),
        ("{ $.score = 0.50 }", True),
        ("{ $.ok IS FALSE }", True),
        ("{ $.gone IS NULL }", True),
        ("{ $.none NOT EXISTS }", True),
        ("{ $.event NOT EXISTS }", False),
        ('{ $.users[0].name = "Ann" && $.users[0].id > 6 }', True),
        ('{ $.event = "x" || ($.score > 0 && $.path = %^/v1%) }', True),
        ('{ $.event = "x" || $.score > 1 }', False),
        ('{ $.missing != "x" }', False),
        ("quality", True),
        ("quality Ann", True),
        ("quality -Ann", False),
        ("?nothing ?score", True),
        ('"no such phrase"', False),
        ("%sco.e%", True),
        ("", True),
    ],
)
def test_pattern_of_a_json_event(pattern: str, matches: bool) -> None:
    assert (compiled(pattern)(EVENT) is not None) is matches


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ("[ip, user, username, timestamp, request, status_code, bytes]", True),
        ("[ip, user, username, timestamp, request, status_code = 4*, bytes > 1000]", True),
        ("[ip, user, username, timestamp, request, status_code = 5*, bytes]", False),
        ("[..., status_code = 404, bytes]", True),
        ("[ip, user]", False),
        ('[..., request = "*html*", status_code, bytes]', True),
    ],
)
def test_pattern_of_a_line_of_fields(pattern: str, matches: bool) -> None:
    assert (compiled(pattern)(LINE) is not None) is matches


def test_selectors_read_what_matched() -> None:
    fields = compiled('{ $.event = "quality" }')(EVENT)
    assert fields is not None
    assert selected(fields, "$.score") == 0.5
    assert selected(fields, "$.users[0].id") == 7
    assert selected(fields, "$.none") is None
    assert selected(fields, "1") == "1"
    columns = compiled("[..., status, bytes]")(LINE)
    assert columns is not None
    assert selected(columns, "$bytes") == "1534"


@pytest.mark.parametrize("pattern", ["{ $.a = }", "{ $.a", '{ "a" = 1 }', "{ ($.a = 1 }", "[a, b", "[a = , b]x]"])
def test_a_pattern_that_can_not_be_read_is_refused(pattern: str) -> None:
    with pytest.raises(AwsApiError, match="InvalidParameterException"):
        compiled(pattern)
