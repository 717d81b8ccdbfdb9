"""Property values on their way between the engine and the plugin."""

import pytest
from google.protobuf import struct_pb2

from llmops_twins.plugins.differences import differences, general, member, same_members
from llmops_twins.plugins.values import ASSET, SECRET, SIGNATURE, UNKNOWN, decode, encode, has_unknown


def test_plain_values_come_back_as_they_were() -> None:
    values = {"text": "a", "count": 3, "share": 0.5, "on": False, "none": None, "list": [1, {"a": [2]}], "map": {}}
    decoded, secret = decode(encode(values))
    assert decoded == values
    assert isinstance(decoded["count"], int)
    assert secret == set()


def test_secrets_are_known_by_the_property_that_holds_them() -> None:
    wire = struct_pb2.Struct()
    wire.update({"open": 1, "deep": {"list": [{SIGNATURE: SECRET, "value": "word"}]}})
    values, secret = decode(wire)
    assert values == {"open": 1, "deep": {"list": ["word"]}}
    assert secret == {"deep"}
    assert decode(encode(values, secret)) == (values, secret)
    assert encode(values, secret).fields["deep"].struct_value.fields[SIGNATURE].string_value == SECRET


def test_unknowns_are_found_anywhere_and_assets_refused() -> None:
    assert has_unknown({"a": [{"b": UNKNOWN}]})
    assert not has_unknown({"a": [{"b": "known"}]})
    wire = struct_pb2.Struct()
    wire.update({"file": {SIGNATURE: ASSET, "path": "a"}})
    with pytest.raises(ValueError, match="assets"):
        decode(wire)


def test_differences_name_the_paths_that_differ() -> None:
    old = {"a": 1, "b": [1, 2], "c": {"d e": 1}, "gone": 1}
    new = {"a": 1, "b": [1, 3, 4], "c": {"d e": 2}, "here": {"x": 1}}
    found = [(path, kind) for path, kind, _ in differences("p", old, new, lambda *_: False)]
    assert found == [
        ("p.b[1]", "update"),
        ("p.b[2]", "add"),
        ('p.c["d e"]', "update"),
        ("p.gone", "delete"),
        ("p.here", "add"),
    ]
    assert [*differences("p", 1, 2, lambda path, *_: path == "p")] == []


def test_paths_have_a_general_form() -> None:
    assert general("a[0].b[12].c") == "a[].b[].c"
    assert general('a["x y"][3]') == 'a["x y"][]'
    assert member("a", "plain-word_1") == "a.plain-word_1"


def test_sets_have_the_same_members_in_any_order() -> None:
    assert same_members([1, 2, 2], [2, 1, 2], lambda *_: False)
    assert not same_members([1, 2, 2], [2, 1, 1], lambda *_: False)
    assert same_members(["A"], ["a"], lambda a, b: a.lower() == b.lower())
