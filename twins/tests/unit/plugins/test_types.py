"""Every type of types.json, as the plugin answers the engine: what replaces, what is refused, what is filled in."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from pulumi.runtime.proto import provider_pb2

from llmops_twins.plugins.aws.checks import with_defaults
from llmops_twins.plugins.aws.functions import invoke
from llmops_twins.plugins.aws.kinds import kind_of
from llmops_twins.plugins.aws.rules import FOLDER, rules, tokens
from llmops_twins.plugins.aws.session import AwsSession
from llmops_twins.plugins.differences import general
from llmops_twins.plugins.plugin import Naming, ProviderError
from llmops_twins.plugins.values import DEFAULTS, UNKNOWN
from twins.tests.unit.plugins import samples
from twins.tests.unit.plugins.plugin import Plugin, connected

TYPES = json.loads((Path(FOLDER) / "types.json").read_text())
NOT_JUDGED = {
    ("aws:budgets/budget:Budget", "filterExpression"),
    ("aws:cloudwatch/metricAlarm:MetricAlarm", "evaluationWindow"),
    ("aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration", "rules[].filter"),
    ("aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration", "objectLockEnabled"),
    ("aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration", "rules[].expiration"),
}
"""Checks of the real plugin that nothing here refuses: two only warn, one is only documented, one can't be made, one
has a single value.
"""


@pytest.fixture(scope="module")
def plugin() -> Iterator[Plugin]:
    with connected() as found:
        yield found


def every(*, having: str = "") -> pytest.MarkDecorator:
    found = [t for t in tokens() if not having or TYPES[t].get(having)]
    assert found
    return pytest.mark.parametrize("token", found)


@every()
def test_every_type_has_its_calls_and_its_shapes(token: str) -> None:
    kind = rules(token)
    assert kind_of(token).token == token
    for field in ("replace", "defaults", "rules", "judged", "computed_inputs", "sets", "ordered", "same"):
        for path in TYPES[token].get(field, {}):
            assert shape_of(token, path.split(" ")[0]) is not None, path
    assert kind.inputs


@every(having="checks")
def test_every_check_is_judged(token: str) -> None:
    told = TYPES[token]
    open_ones = set(told["checks"]) - set(told.get("rules", {})) - set(told.get("judged", {}))
    assert open_ones == set()
    not_judged = {(token, p) for p, how in told.get("judged", {}).items() if how.startswith("not judged")}
    assert not_judged == {(t, p) for t, p in NOT_JUDGED if t == token}


@every()
def test_complete_inputs_are_taken_and_nothing_else_is_required(token: str, plugin: Plugin) -> None:
    kind = rules(token)
    inputs = samples.minimal(token)
    checked, failures = plugin.check(token, inputs)
    assert failures == {}
    for name in kind.required & set(kind.inputs):
        _, failures = plugin.check(token, {n: v for n, v in inputs.items() if n != name})
        assert name in failures
    again, failures = plugin.check(token, inputs, checked)
    assert (again, failures) == (checked, {})
    assert plugin.diff(token, checked, again).changes == provider_pb2.DiffResponse.DIFF_NONE


@every(having="rules")
def test_what_a_rule_allows_is_taken_and_what_it_forbids_is_refused(token: str, plugin: Plugin) -> None:
    kind = rules(token)
    for path, rule in kind.rules.items():
        shape = shape_of(token, path)
        base = samples.minimal(token)
        place = samples.put(kind, base, path, samples.good(kind, path, shape))
        samples.completed(kind, base, path)
        failures = plugin.check(token, base)[1]
        assert failures == {}, path
        broken = [*samples.bad(rule, shape)]
        assert broken or set(rule) <= {"only_when", "json"}, f"{path}: {rule} is never broken"
        for name, value in broken:
            wrong = copy.deepcopy(base)
            samples.put(kind, wrong, path, value)
            failures = plugin.check(token, wrong)[1]
            assert any(p == place or p.startswith((f"{place}.", f"{place}[")) for p in failures), (path, name, value)
        for other in rule.get("only_when", {}):
            alone = {n: v for n, v in base.items() if n != other}
            assert place in plugin.check(token, alone)[1], path


@every(having="conflicts")
def test_conflicts_are_refused(token: str, plugin: Plugin) -> None:
    kind = rules(token)
    for one, other in kind.conflicts:
        inputs = samples.minimal(token)
        for path in (one, other):
            value = samples.good(kind, path, shape_of(token, path))
            samples.put(kind, inputs, path, value if value is not False else True, alone=False)
        failures = plugin.check(token, inputs)[1]
        assert any(general(p) in (one, other) for p in failures), (one, other, failures)


def test_combinations_are_refused(plugin: Plugin) -> None:
    judged = 0
    for token in tokens():
        kind = rules(token)
        for group in (*kind.exactly_one, *kind.at_least_one):
            without = {n: v for n, v in samples.minimal(token).items() if n not in group}
            assert group[0] in plugin.check(token, without)[1]
            judged += 1
        for group in kind.exactly_one:
            both = samples.minimal(token) | {n: samples.good(kind, n, kind.inputs[n]) for n in group[:2]}
            assert plugin.check(token, both)[1]
            judged += 1
        for name in kind.needs:
            alone = {n: v for n, v in samples.minimal(token).items() if n not in kind.needs[name]}
            alone[name] = samples.good(kind, name, kind.inputs[name])
            by_default = all(other in kind.defaults for other in kind.needs[name])
            assert (name in plugin.check(token, alone)[1]) != by_default, (token, name)
            judged += 1
    assert judged == 24


@every(having="defaults")
def test_every_default_appears_and_is_listed(token: str, plugin: Plugin) -> None:
    kind = rules(token)
    for path, value in kind.defaults.items():
        inputs = samples.minimal(token)
        top = path.split(".")[0].split("[")[0]
        if path == top:
            inputs.pop(path, None)
        else:
            samples.put(kind, inputs, path, None)
        checked = plugin.check(token, inputs)[0]
        assert found_at(checked, path) == [value], path
        if path == top:
            assert path in checked[DEFAULTS]
            mine = plugin.check(token, inputs | {path: other_than(kind, path, value)})[0]
            assert path not in mine[DEFAULTS]
            assert mine[path] != value


@every()
def test_every_change_replaces_or_updates_as_told(token: str, plugin: Plugin) -> None:
    kind = rules(token)
    told = [*TYPES[token].get("replace", []), *(["region"] if "region" in kind.inputs else [])]
    met: set[str] = set()
    for path, shape in samples.leaves(kind.inputs):
        if path in TYPES[token].get("replace_when", {}):
            continue
        old, new = {}, {}
        for inputs, turn in ((old, 0), (new, 1)):
            samples.put(kind, inputs, path, changed(kind, path, shape, turn))
        answer = plugin.diff(token, old, new)
        reached = {rule for rule in told if path == rule or path.startswith((f"{rule}.", f"{rule}["))}
        met |= reached
        assert answer.changes == provider_pb2.DiffResponse.DIFF_SOME, path
        assert bool(answer.replaces) == bool(reached), path
        assert {general(p).split("[]")[0] for p in answer.detailedDiff} == {path.split("[]")[0]} or "*" in shape
        kinds = {provider_pb2.PropertyDiff.Kind.Name(d.kind).endswith("_REPLACE") for d in answer.detailedDiff.values()}
        assert kinds == {bool(reached)}, path
    assert set(told) - met <= {path for path in told if isinstance(shape_of(token, path), dict)}


CONDITIONAL: dict[str, list[tuple[str, dict[str, Any], dict[str, Any], bool]]] = {
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": [
        ("expectedBucketOwner", {}, {"expectedBucketOwner": "000000000000"}, False),
        ("expectedBucketOwner", {}, {"expectedBucketOwner": "111111111111"}, True),
        ("expectedBucketOwner", {"expectedBucketOwner": "111111111111"}, {}, True),
    ],
    "aws:ec2/vpc:Vpc": [
        ("instanceTenancy", {"instanceTenancy": "dedicated"}, {"instanceTenancy": "default"}, False),
        ("instanceTenancy", {"instanceTenancy": "default"}, {"instanceTenancy": "dedicated"}, True),
    ],
    "aws:ec2/subnet:Subnet": [
        (
            "ipv6CidrBlock",
            {"ipv6CidrBlock": "2001:db8::/64", "assignIpv6AddressOnCreation": True},
            {"ipv6CidrBlock": "2001:db9::/64", "assignIpv6AddressOnCreation": True},
            True,
        ),
        ("ipv6CidrBlock", {"ipv6CidrBlock": "2001:db8::/64"}, {"ipv6CidrBlock": "2001:db9::/64"}, False),
    ],
    "aws:ec2/vpcEndpoint:VpcEndpoint": [
        (
            "privateDnsEnabled",
            {"privateDnsEnabled": True, "vpcEndpointType": "Interface"},
            {"privateDnsEnabled": False, "vpcEndpointType": "Interface"},
            False,
        ),
        ("privateDnsEnabled", {"privateDnsEnabled": True}, {"privateDnsEnabled": False}, True),
    ],
    **{
        f"aws:vpc/securityGroup{way}Rule:SecurityGroup{way}Rule": [
            ("cidrIpv4", {"cidrIpv4": "10.0.0.0/24"}, {"cidrIpv4": "10.0.1.0/24"}, False),
            ("cidrIpv4", {"cidrIpv4": "10.0.0.0/24"}, {"cidrIpv6": "2001:db8::/64"}, True),
            ("cidrIpv6", {"cidrIpv6": "2001:db8::/64"}, {"cidrIpv4": "10.0.0.0/24"}, True),
            ("prefixListId", {"prefixListId": "pl-1"}, {"prefixListId": "pl-2"}, False),
            ("referencedSecurityGroupId", {"referencedSecurityGroupId": "sg-1"}, {"prefixListId": "pl-2"}, True),
        ]
        for way in ("Ingress", "Egress")
    },
}


@every(having="replace_if")
def test_conditional_replacements(token: str, plugin: Plugin) -> None:
    assert {path for path, *_ in CONDITIONAL[token]} == set(TYPES[token]["replace_if"])
    for path, old, new, replaced in CONDITIONAL[token]:
        answer = plugin.diff(token, old, new)
        assert answer.changes == provider_pb2.DiffResponse.DIFF_SOME
        assert (path in answer.replaces) == replaced, (path, old, new)


@every(having="computed_inputs")
def test_what_the_cloud_fills_in_is_unknown_before_and_no_change_after(token: str, plugin: Plugin) -> None:
    kind = rules(token)
    inputs = plugin.check(token, samples.minimal(token))[0]
    outputs = plugin.preview(token, inputs)
    for path in kind.computed | set(kind.outputs):
        if "." in path or "[" in path or path in inputs:
            continue
        assert outputs[path] == UNKNOWN, path
        state = inputs | {path: samples.good(kind, path, shape_of(token, path))}
        given = state if path in kind.inputs else inputs
        assert plugin.diff(token, given, inputs, state).changes == provider_pb2.DiffResponse.DIFF_NONE, path


def test_equal_json_is_no_change(plugin: Plugin) -> None:
    texts = 0
    for token in tokens():
        for path, rule in rules(token).rules.items():
            if "json" not in rule:
                continue
            one = {"Version": "1", "Statement": [{"Action": ["b", "a"], "Resource": "x"}]}
            turned = {"Statement": [{"Resource": "x", "Action": ["b", "a"]}], "Version": "1"}
            loose = {"Statement": {"Resource": ["x"], "Action": ["a", "b"]}, "Version": "1"}
            for other, equal in ((turned, rule["json"] != "exact"), (loose, rule["json"] == "policy")):
                old, new = {}, {}
                samples.put(rules(token), old, path, json.dumps(one))
                samples.put(rules(token), new, path, json.dumps(other, indent=1))
                changes = plugin.diff(token, old, new).changes
                assert (changes == provider_pb2.DiffResponse.DIFF_NONE) == equal, (token, path)
            texts += 1
    assert texts == 17


def test_an_object_stands_for_json(plugin: Plugin) -> None:
    taking = [(token, path) for token in tokens() for path in rules(token).objects]
    assert len(taking) == 6
    for token, path in taking:
        inputs = samples.minimal(token) | {path: {"Statement": []}}
        checked, failures = plugin.check(token, inputs)
        assert failures == {}
        assert json.loads(checked[path]) == {"Statement": []}


def test_tags_are_merged_and_change_in_place(plugin: Plugin) -> None:
    tagged = [token for token in tokens() if rules(token).tagged]
    assert len(tagged) == 23
    for token in tagged:
        base = samples.minimal(token)
        plain = plugin.check(token, base)[0]
        assert plain["tagsAll"] == {"team": "models"}
        own = plugin.check(token, base | {"tags": {"team": "other", "a": "b"}})[0]
        assert own["tagsAll"] == {"team": "other", "a": "b"}
        assert plugin.check(token, base | {"tags": {"a": UNKNOWN}})[0]["tagsAll"] == UNKNOWN
        answer = plugin.diff(token, plain, own)
        assert set(answer.diffs) == {"tags", "tagsAll"}
        assert not answer.replaces


def test_a_name_has_to_be_given_where_the_engine_makes_none() -> None:
    known = rules("aws:s3/bucket:Bucket")
    for mode, told in ("disable", ["bucket"]), ("", []):
        found, failures = with_defaults(known, "one", {}, {}, Naming(b"seed", mode=mode))
        assert [failure.property for failure in failures] == told
        assert ("bucket" in found) == (mode == "")


def test_names_are_made_kept_and_make_way(plugin: Plugin) -> None:
    named = [token for token in tokens() if rules(token).autoname]
    assert len(named) == 18
    for token in named:
        told = rules(token).autoname or {}
        name, base = told["property"], samples.minimal(token)
        base.pop(name, None)
        made = plugin.check(token, base, name="Models")[0]
        beginning = f"{told.get('prefix', '')}Models-"
        assert made[name].startswith(beginning.lower() if told.get("lower") else beginning)
        assert name in made[DEFAULTS]
        assert plugin.check(token, base, made, name="Models")[0][name] == made[name]
        given = plugin.check(token, base | {name: made[name]}, name="Models")[0]
        assert name not in given[DEFAULTS]
        if "region" in rules(token).inputs and not rules(token).delete_before_replace:
            moved = {"region": "eu-west-1"}
            assert not plugin.diff(token, made, made | moved).deleteBeforeReplace
            assert plugin.diff(token, given, given | moved).deleteBeforeReplace


def test_a_prefix_takes_the_place_of_a_made_name(plugin: Plugin) -> None:
    prefixed = [t for t in tokens() if "namePrefix" in rules(t).inputs and rules(t).autoname]
    assert len(prefixed) == 10
    for token in prefixed:
        base = samples.minimal(token) | {"namePrefix": samples.good(rules(token), "namePrefix", "string")}
        checked, failures = plugin.check(token, base)
        assert failures == {}
        assert "name" not in checked
        assert plugin.preview(token, checked)["name"] == UNKNOWN


def test_versioning_is_never_taken_away(plugin: Plugin) -> None:
    token = "aws:s3/bucketVersioning:BucketVersioning"
    enabled, disabled = ({"versioningConfiguration": {"status": status}} for status in ("Enabled", "Disabled"))
    with pytest.raises(grpc.RpcError, match="cannot be updated from 'Enabled' to 'Disabled'"):
        plugin.diff(token, enabled, disabled)
    assert plugin.diff(token, disabled, enabled).changes == provider_pb2.DiffResponse.DIFF_SOME


def test_region_is_filled_in_and_replaces(plugin: Plugin) -> None:
    for token in tokens():
        inputs = plugin.check(token, samples.minimal(token))[0]
        assert inputs.get("region") == ("eu-central-1" if "region" in rules(token).inputs else None)


def test_unknown_keys_and_wrong_kinds_are_refused(plugin: Plugin) -> None:
    for token in tokens():
        base = samples.minimal(token)
        assert "noSuchKey" in plugin.check(token, base | {"noSuchKey": 1})[1]
        for name, shape in rules(token).inputs.items():
            if name not in rules(token).objects:
                wrong = base | {name: 7 if isinstance(shape, list | dict) else {"a": 1}}
                assert any(p.startswith(name) for p in plugin.check(token, wrong)[1])


def test_unknown_values_pass(plugin: Plugin) -> None:
    for token in tokens():
        unknown = dict.fromkeys(samples.minimal(token), UNKNOWN)
        assert plugin.check(token, unknown)[1] == {}, token


def test_a_function_that_it_does_not_know_is_refused_by_name() -> None:
    token = "aws:index/getCallerIdentity:getCallerIdentity"
    with pytest.raises(ProviderError, match=f"does not know the function {token}"):
        invoke(AwsSession(region="eu-central-1"), token, {})


def shape_of(token: str, path: str) -> Any:
    shape: Any = {**rules(token).inputs, **rules(token).outputs}
    for part in path.split("."):
        name, *brackets = part.split("[]")
        shape = shape.get(name) if isinstance(shape, dict) else None
        for _ in brackets:
            shape = shape[0] if isinstance(shape, list) else shape and shape.get("*")
    return shape


def found_at(values: Any, path: str) -> list[Any]:
    from llmops_twins.plugins.aws.checks import at

    return [value for _, value in at(values, path)]


def changed(kind: Any, path: str, shape: Any, turn: int) -> Any:
    """Any value of the shape, another one for each turn: a diff asks no rules."""
    if isinstance(shape, list):
        return [changed(kind, path, shape[0], turn)]
    if isinstance(shape, dict):
        return {"key": changed(kind, path, shape["*"], turn)}
    if shape == "string":
        json_text = "json" in kind.rules.get(path, {})
        return json.dumps({"turn": turn}) if json_text else f"value-{'ab'[turn]}"
    return turn == 0 if shape == "boolean" else turn + 7


def other_than(kind: Any, path: str, value: Any) -> Any:
    found = [samples.good(kind, path, kind.inputs[path], turn) for turn in (0, 1)]
    return next(other for other in found if other != value)
