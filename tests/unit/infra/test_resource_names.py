"""Names in an account: within every limit, and never the same for two stacks."""

import itertools
import re

import pytest

from llmops_kit.infra.resource_names import CloudNames

LONG = "a-team-with-a-long-name-and-an-environ"
STACKS = ["dev", "dev-a", "dev-a-b", "a", LONG + "-1", LONG + "-2", "Dev", "dev.a", "dev_a", "9lives"]
THINGS = ["a", "b", "a-b", "store", "x" * 32, "x" * 32 + "-latency"]


@pytest.mark.parametrize("limit", [26, 50, 63])
def test_names_keep_the_limit_and_the_form_that_all_services_take(limit: int) -> None:
    for stack, thing in itertools.product(STACKS, THINGS):
        name = CloudNames("llmops", stack).of(thing, limit)
        assert len(name) <= limit
        assert re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name), name


def test_buckets_keep_s3s_rules_and_differ_between_accounts() -> None:
    names = CloudNames("llmops", LONG + "-1")
    found = {names.bucket("store", account, region) for account in ("1" * 12, "2" * 12) for region in ("a", "b")}
    assert len(found) == 4
    for name in found:
        assert 3 <= len(name) <= 63
        assert re.fullmatch(r"[a-z0-9][a-z0-9-]+[a-z0-9]", name)


def test_compact_names_keep_azures_rules_and_differ_between_subscriptions() -> None:
    names = CloudNames("llmops", LONG + "-1")
    found = {names.compact(thing, 24, subscription) for thing in ("data", "vault") for subscription in ("a", "b")}
    assert len(found) == 4
    for name in found | {CloudNames("9llmops", "x").compact("registry", 50)}:
        assert re.fullmatch(r"[a-z][a-z0-9]{4,49}", name)
        assert len(name) <= 50
    assert {len(name) for name in found} == {24}, "long names use the whole limit"


def test_compact_names_never_change() -> None:
    """Another name would replace accounts and vaults that hold data."""
    assert CloudNames("llmops", LONG).compact("data", 24, "a-subscription") == "llmopsateamwe370dd35f7de"


def test_no_two_things_or_stacks_share_a_name() -> None:
    projects = ("llmops", "llmops-dev")
    made = [CloudNames(p, s).of(t) for p, s, t in itertools.product(projects, STACKS, THINGS)]
    assert len(set(made)) == len(made)


def test_a_content_that_comes_back_has_another_name() -> None:
    names = CloudNames("llmops", LONG)
    first, second, again = (names.of_content("chat-config", c, n) for c, n in (("a", 1), ("b", 2), ("a", 3)))
    assert len({first, second, again}) == 3
    assert first.rpartition("-")[0] == again.rpartition("-")[0]
    assert max(map(len, (first, names.of_content("x" * 40, "a", 123_456)))) <= 63
