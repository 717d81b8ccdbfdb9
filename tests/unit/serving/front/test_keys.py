"""Who may ask."""

import hmac
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from llmops_kit.core.errors import ServingError
from llmops_kit.core.network.api_key import authorized_digest, key_digest
from llmops_kit.serving.errors import ApiError
from llmops_kit.serving.front.keys import ExpiredKeyError, Keys
from llmops_kit.serving.server_settings import ServerSettings

KEY = "0123456789abcdef"


def authentication(clock: Callable[[], float] = time.time, **fields) -> Keys:
    return Keys(ServerSettings(**({"model": Path(), "public_key": "", "api_key": KEY} | fields)), clock)


@pytest.mark.parametrize("header", [f"Bearer {KEY}", f"bearer {KEY}", f"Bearer  {KEY} "])
def test_the_key_passes(header: str) -> None:
    authentication().check(header)


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", KEY, f"Basic {KEY}", f"Bearer {KEY}x", f"Bearer {KEY[:-1]}", "Bearer \udce9"]
)
def test_everything_else_is_401_without_the_key_in_words(header: str) -> None:
    with pytest.raises(ApiError) as caught:
        authentication().check(header)
    assert caught.value.status == 401
    assert KEY not in str(caught.value.body)


def test_an_empty_key_never_passes() -> None:
    with pytest.raises(ApiError):
        authentication().check("Bearer ")


def test_a_platform_has_authenticated_already() -> None:
    authentication(auth="platform", platform="sagemaker").check("")


@pytest.mark.cve("constant-time-key")
@pytest.mark.parametrize("header", [f"Bearer {KEY}", "Bearer ", "", f"Basic {KEY}", "Bearer 0" + "x" * 10_000])
def test_keys_are_compared_in_constant_time(header: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Digests, which have one length, by hmac's comparison, and all of them whatever the first ones gave."""
    compared: list[tuple[str, str]] = []
    compare = hmac.compare_digest

    def watched(given: str, expected: str) -> bool:
        compared.append((given, expected))
        return compare(given, expected)

    monkeypatch.setattr(hmac, "compare_digest", watched)
    digests = [key_digest(KEY), key_digest("another key"), key_digest(KEY)]
    assert bool(authorized_digest(header, digests)) == (header == f"Bearer {KEY}")
    assert [expected for _, expected in compared] == digests
    assert {len(given) for given, _ in compared} == {64}


OTHERS = {"team-a": "a-key-of-team-a-01", "team-b": "b-key-of-team-b-01"}


def write(path: Path, **fields: int | str) -> str:
    keys = [{"name": name, "sha256": key_digest(key)} | fields for name, key in OTHERS.items()]
    path.write_text(text := json.dumps({"schema": "keys/1", "keys": keys}))
    return text


@pytest.mark.scorecard("bad-input")
def test_a_file_of_keys_names_callers_and_is_read_again_when_it_changes(tmp_path: Path, capsys) -> None:
    file = tmp_path / "keys.json"
    text = write(file)
    keys = authentication(api_keys_file=file)
    assert keys.count == 3
    assert [keys.check(f"Bearer {key}").name for key in (KEY, *OTHERS.values())] == ["default", *OTHERS]
    file.write_text(text[: len(text) // 2])  # half-written
    assert keys.check(f"Bearer {OTHERS['team-b']}").name == "team-b"
    assert "is not JSON" in (said := capsys.readouterr().err)
    assert "its 3 previous keys stay valid" in said
    file.unlink()
    assert keys.check(f"Bearer {OTHERS['team-a']}").name == "team-a"
    file.write_text(json.dumps({"schema": "keys/1", "keys": [json.loads(text)["keys"][0]]}))
    assert keys.check(f"Bearer {OTHERS['team-a']}").name == "team-a"
    with pytest.raises(ApiError):
        keys.check(f"Bearer {OTHERS['team-b']}")
    assert all(key not in text for key in OTHERS.values())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is not JSON"),
        ('{"schema": "keys/1", "keys": [{"name": "A b", "sha256": "00"}]}', "name"),
        ('{"schema": "keys/1", "keys": [{"name": "a", "key": "b"}]}', "key"),
        (json.dumps({"schema": "keys/1", "keys": [{"name": "a", "sha256": "0" * 64}] * 2}), "twice"),
        (json.dumps({"schema": "keys/1", "keys": [{"name": "default", "sha256": "0" * 64}]}), "twice"),
    ],
)
def test_a_start_with_a_file_that_is_no_file_of_keys_is_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "keys.json").write_text(text)
    with pytest.raises(ServingError) as caught:
        authentication(api_keys_file=tmp_path / "keys.json")
    assert says in caught.value.what
    assert "LLMOPS_API_KEYS_FILE" in caught.value.where


def test_a_rate_and_a_budget_are_each_keys_own_and_outlive_a_change(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    write(file, requests_per_minute=2, tokens_per_day=100)
    keys = authentication(api_keys_file=file)
    caller = keys.check(f"Bearer {OTHERS['team-a']}")
    caller.begin()
    caller.begin()
    with pytest.raises(ApiError) as caught:
        caller.begin()
    assert (caught.value.status, caught.value.body["error"]["code"]) == (429, "rate_limit_exceeded")
    assert 1 <= caught.value.retry_after <= 30
    keys.check(f"Bearer {OTHERS['team-b']}").begin()
    caller.count(100)
    write(file, tokens_per_day=50)
    caller = keys.check(f"Bearer {OTHERS['team-a']}")
    with pytest.raises(ApiError) as caught:
        caller.begin()
    assert caught.value.body["error"]["code"] == "token_budget_exceeded"
    assert caught.value.body["error"]["type"] == "rate_limit_error"


def test_metrics_take_the_scrape_key_alone_where_there_is_one() -> None:
    authentication().check_scrape(f"Bearer {KEY}")
    keys = authentication(metrics_key="scrape-key-0123456789")
    keys.check_scrape("Bearer scrape-key-0123456789")
    for header in (f"Bearer {KEY}", ""):
        with pytest.raises(ApiError):
            keys.check_scrape(header)
    with pytest.raises(ApiError):
        keys.check("Bearer scrape-key-0123456789")


MIDNIGHT = datetime(2026, 12, 31, tzinfo=UTC).timestamp()


@pytest.mark.scorecard("api-keys")
def test_a_key_expires_while_it_is_served_and_callers_learn_no_more_than_of_an_unknown_one(tmp_path: Path) -> None:
    now = MIDNIGHT - 600
    write(tmp_path / "keys.json", expires="2026-12-31", owner="team")
    keys = authentication(lambda: now, api_keys_file=tmp_path / "keys.json")
    header = f"Bearer {OTHERS['team-a']}"
    assert keys.check(header).name == "team-a"
    now = MIDNIGHT
    with pytest.raises(ApiError) as unknown:
        keys.check("Bearer somebody-elses-key")
    for check in (keys.check, keys.check_scrape):
        with pytest.raises(ExpiredKeyError) as expired:
            check(header)
        assert (expired.value.status, expired.value.body) == (401, unknown.value.body)
        assert expired.value.name == "team-a", "for the log"
    assert keys.check(f"Bearer {KEY}").name == "default", "the endpoint's own key stays valid"
    write(tmp_path / "keys.json", expires="2027-01-31")
    assert keys.check(header).name == "team-a", "until another time, without a restart"


@pytest.mark.scorecard("api-keys")
def test_servers_of_an_endpoint_share_budgets_and_keep_them_over_a_restart(tmp_path: Path) -> None:
    now, header = MIDNIGHT, f"Bearer {OTHERS['team-a']}"
    write(tmp_path / "keys.json", tokens_per_day=100, requests_per_minute=3)
    files = {"api_keys_file": tmp_path / "keys.json", "usage_file": tmp_path / "usage.sqlite"}
    one, two = (authentication(lambda: now, **files) for _ in range(2))

    def refusal(server: Keys) -> str:
        with pytest.raises(ApiError) as caught:
            server.check(header).begin()
        assert caught.value.status == 429
        return caught.value.body["error"]["code"]

    for server in (one, two, one):
        server.check(header).begin()
    restarted = authentication(lambda: now, **files)
    assert {refusal(server) for server in (one, two, restarted)} == {"rate_limit_exceeded"}
    one.check(header).count(60)
    now += 60
    two.check(header).begin()
    two.check(header).count(40)
    restarted = authentication(lambda: now, **files)
    assert {refusal(server) for server in (one, two, restarted)} == {"token_budget_exceeded"}
    one.check(f"Bearer {OTHERS['team-b']}").begin()
    write(tmp_path / "keys.json", tokens_per_day=101)
    two.check(header).begin()
    now += 86_400
    assert authentication(lambda: now, **files).check(header).usage.tokens("team-a", "2027-01-01") == 0
