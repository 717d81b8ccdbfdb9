"""The protocol itself: what an engine asks to ignore, and what is recorded of an update that failed on its way."""

from typing import Any

import pytest

from llmops_twins.plugins.server import _ignoring

OLD = {"a": 1, "b": {"c": 1, "d": {"e": 1}}, "list": [{"x": 1}, {"x": 2}]}
NEW = {"a": 2, "b": {"c": 2, "d": {"e": 2}, "new": 3}, "list": [{"x": 9}, {"x": 2}], "more": 4}


@pytest.mark.parametrize(
    ("path", "changed"),
    [
        ("a", {"a": 1}),
        ("b", {"b": OLD["b"]}),
        ("b.c", {"b": {"c": 1, "d": {"e": 2}, "new": 3}}),
        ("b.d.e", {"b": {"c": 2, "d": {"e": 1}, "new": 3}}),
        ("b.new", {"b": {"c": 2, "d": {"e": 2}}}),
        ("list[0].x", {"list": OLD["list"]}),
        ("more.than.there.is", {}),
        ("nothing", {}),
    ],
)
def test_what_is_ignored_stays_as_it_was(path: str, changed: dict[str, Any]) -> None:
    assert _ignoring([path], OLD, NEW) == NEW | changed


def test_what_was_not_there_stays_away() -> None:
    assert "more" not in _ignoring(["more"], OLD, NEW)
    assert NEW["b"] == {"c": 2, "d": {"e": 2}, "new": 3}
