"""Which backend is chosen."""

import asyncio
import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from llmops_kit.core.errors import DocumentError
from llmops_kit.local_runtime.routing.balance import Backend, Routes, Table


def routes(**variants: tuple[int, int]) -> Routes:
    """Variant -> (weight, instances)."""
    return Routes.new(
        variants={
            v: {"weight": weight, "backends": [f"http://{v}:{i}" for i in range(count)]}
            for v, (weight, count) in variants.items()
        }
    )


def table(**variants: tuple[int, int]) -> Table:
    found = Table()
    for backend in found.update(routes(**variants))[0]:
        backend.mark(True)
    return found


def test_weights_hold_exactly_and_spread_evenly() -> None:
    balanced = table(old=(90, 2), new=(10, 1))
    chosen = [b.variant for b in (balanced.choose() for _ in range(100)) if b]
    assert Counter(chosen) == {"old": 90, "new": 10}
    assert all(chosen[i : i + 10].count("new") == 1 for i in range(0, 100, 10))


def test_the_instance_with_fewest_outstanding_requests_is_chosen_and_equals_take_turns() -> None:
    balanced = table(v=(1, 3))
    first, second, third = balanced.backends.values()
    first.in_flight, second.in_flight = 2, 1
    assert balanced.choose() is third
    third.in_flight = 1
    assert [balanced.choose(), balanced.choose()] == [second, third]


def test_one_that_is_down_takes_no_connections_until_it_is_asked_again() -> None:
    backend = Backend("http://127.0.0.1:1", "a", "a/http.sock", takes_connections=True, healthy=True)
    backend.mark(False, "connection refused")
    assert not backend.takes_connections
    backend.mark(True)
    assert not backend.takes_connections


def test_a_variant_without_healthy_instances_gives_its_share_away_and_gets_no_arrears() -> None:
    balanced = table(a=(50, 1), b=(50, 1))
    sick = balanced.backends["http://b:0"]
    sick.mark(False, "refused")
    assert {b.variant for b in (balanced.choose() for _ in range(10)) if b} == {"a"}
    sick.mark(True)
    assert Counter(b.variant for b in (balanced.choose() for _ in range(10)) if b) == {"a": 5, "b": 5}


def test_no_weight_no_request() -> None:
    balanced = table(a=(0, 2))
    assert balanced.choose() is None
    assert not balanced.has_traffic


def test_what_is_avoided_is_taken_only_when_there_is_no_other() -> None:
    balanced = table(v=(1, 2))
    first, second = balanced.backends.values()
    assert {balanced.choose([first]) for _ in range(3)} == {second}
    second.mark(False)
    assert balanced.choose([first]) is first


def test_a_wanted_variant_answers_whatever_the_weights_and_no_other_does() -> None:
    balanced = table(a=(100, 1), b=(0, 2))
    chosen = [balanced.choose(wanted="b") for _ in range(4)]
    assert [b.url for b in chosen if b] == ["http://b:0", "http://b:1"] * 2
    assert Counter(b.variant for b in (balanced.choose() for _ in range(4)) if b) == {"a": 4}
    for backend in balanced.backends.values():
        backend.mark(backend.variant == "a")
    assert balanced.choose(wanted="b") is None


def test_new_routes_keep_counts_of_what_stays_and_drain_what_goes() -> None:
    balanced = table(v=(1, 2))
    stays, goes = balanced.backends.values()
    stays.requests, goes.in_flight = 7, 1
    added, removed = balanced.update(routes(v=(1, 1), w=(1, 1)))
    assert [b.url for b in added] == ["http://w:0"]
    assert removed == balanced.draining == [goes]
    assert balanced.backends["http://v:0"].requests == 7
    goes.in_flight = 0
    balanced.notify()
    assert balanced.draining == []


def test_waiting_ends_with_a_change() -> None:
    async def wait() -> bool:
        balanced = table(v=(1, 1))
        waiting = asyncio.create_task(balanced.changed(60))
        await asyncio.sleep(0)
        balanced.notify()
        await waiting
        await balanced.changed(0.001)
        return True

    assert asyncio.run(wait())


def test_a_negative_weight_is_refused_by_name() -> None:
    with pytest.raises(DocumentError, match=r"variants\.a\.weight"):
        Routes.parse('{"schema": "routes/1", "variants": {"a": {"weight": -1, "backends": []}}}', where="PUT /routes")


def test_keys_of_all_variants_are_taken_and_none_is_asked_for_where_a_variant_takes_none() -> None:
    found = Table()
    backend = {"weight": 1, "backends": ["http://a:1"]}
    for keys, expected in ((["aa", "bb"], ["aa", "bb"]), (["aa", ""], None), ([], [])):
        found.update(Routes.new(variants={str(i): backend | {"key_sha256": key} for i, key in enumerate(keys)}))
        assert found.keys() == expected


def test_keys_of_a_file_are_taken_as_soon_as_they_are_written_and_while_it_is_half_written(tmp_path: Path) -> None:
    found, path, digest = Table(), tmp_path / "keys.json", "c" * 64
    route = {"weight": 1, "backends": ["http://a:1"], "key_sha256": "aa", "keys_file": str(path)}
    found.update(Routes.new(variants={"a": route}))
    assert found.keys() == ["aa"]
    path.write_text(f'{{"schema": "keys/1", "keys": [{{"name": "search", "sha256": "{digest}"}}]}}')
    assert found.keys() == ["aa", digest]
    path.write_text('{"schema": "keys/1", "ke')
    assert found.keys() == ["aa", digest]
    path.write_text('{"schema": "keys/1", "keys": []}')
    assert found.keys() == ["aa"]


def test_expired_keys_of_a_file_are_not_taken_which_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    now = datetime(2026, 12, 31, tzinfo=UTC).timestamp() - 1
    found, path, digest = Table(lambda: now), tmp_path / "keys.json", "c" * 64
    key = {"name": "search", "sha256": digest, "expires": "2026-12-31"}
    path.write_text(json.dumps({"schema": "keys/1", "keys": [key, {"name": "reports", "sha256": "d" * 64}]}))
    route = {"weight": 1, "backends": ["http://a:1"], "key_sha256": "aa", "keys_file": str(path)}
    found.update(Routes.new(variants={"a": route}))
    assert found.keys() == ["aa", digest, "d" * 64]
    assert capsys.readouterr().out == ""
    now += 1
    assert [found.keys() for _ in range(2)] == [["aa", "d" * 64]] * 2
    assert capsys.readouterr().out == "API key search has expired (2026-12-31T00:00:00Z)\n"
