"""`llmops keys api` on the files of an endpoint of this machine."""

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer

from llmops_kit.cli.commands.key_commands import issue_key, list_keys, revoke_key
from llmops_kit.cli.context import Context
from llmops_kit.cli.interfaces.issued_keys import IssuedKeys
from llmops_kit.core.errors import DocumentError, KitError, NotFoundError, RefusedError
from llmops_kit.core.key_file import read_key_file
from llmops_kit.core.network.api_key import authorized_digest, key_digest, make_issued_keys
from llmops_kit.core.network.key_usage import KeyUsage
from tests.support.checkout import IMPORT_PATH

ADDS = """\
import sys
from pathlib import Path
from llmops_kit.cli.interfaces.issued_keys import IssuedKeys
from llmops_kit.core.key_file import ApiKey
folder, who = Path(sys.argv[1]), sys.argv[2]
issued = IssuedKeys("chat", folder / "keys.json", folder / "lock", None)
for number in range(20):
    issued.add(ApiKey(name=f"{who}-{number}", sha256=f"{int(who):02x}{number:062x}"))
"""


class Platform:
    """A stack with the endpoints `chat` and `other`, each with keys of its own."""

    outputs = SimpleNamespace(endpoints={"chat": None, "other": None}, stack="dev")

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in self.outputs.endpoints:
            make_issued_keys(self.issued_keys(name).file)

    def issued_keys(self, endpoint: str) -> IssuedKeys:
        """Returns the keys of an endpoint, as a stack on this machine does."""
        home = self.folder / endpoint
        return IssuedKeys(endpoint, home / "keys.json", home / "lock", home / "usage.sqlite")


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    return Platform(tmp_path)


@pytest.fixture
def context(platform: Platform) -> Any:
    here = Context()
    here.__dict__["platform"] = platform
    return SimpleNamespace(obj=here)


@pytest.fixture
def issue(context: Any, capsys: pytest.CaptureFixture[str]) -> Any:
    """Issues a key; what is printed."""

    def run(name: str, endpoint: str = "chat", **options: Any) -> dict[str, Any]:
        issue_key(context, name, "team", endpoint, as_json=True, **options)
        return json.loads(capsys.readouterr().out)

    return run


def digests(platform: Platform, endpoint: str) -> list[str]:
    return [key.sha256 for key in platform.issued_keys(endpoint).list()]


def test_a_key_is_printed_once_and_kept_as_its_hash(platform: Platform, issue: Any) -> None:
    found = issue("search", expires="2099-12-31", requests_per_minute=60, tokens_per_day=1000)
    key = found.pop("api_key")
    assert found == {"name": "search", "owner": "team", "expires": "2099-12-31T00:00:00Z", "expired": False,
                     "requests_per_minute": 60, "tokens_per_day": 1000}  # fmt: skip
    assert authorized_digest(f"Bearer {key}", digests(platform, "chat")) == key_digest(key)
    file = platform.issued_keys("chat").file
    assert key not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    assert digests(platform, "other") == [], "of another endpoint, it opens nothing"


@pytest.mark.parametrize(
    ("given", "expires"), [("30d", r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ"), ("2099-01-01", "2099-01-01T00:00:00Z"),
                           ("2099-01-01T02:00+02:00", "2099-01-01T00:00:00Z"), ("never", "never")]
)  # fmt: skip
def test_expiry_is_a_number_of_days_a_time_or_never(issue: Any, given: str, expires: str) -> None:
    assert re.fullmatch(expires, issue("search", expires=given)["expires"])


def test_without_an_expiry_a_key_lasts_for_90_days(issue: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 4_102_444_800.0)  # 2100-01-01
    assert issue("search")["expires"] == "2100-04-01T00:00:00Z"


@pytest.mark.parametrize(
    "options",
    [{"expires": "2020-01-01"}, {"expires": ""}, {"expires": "soon"}, {"expires": "0d"}, {"expires": "30"},
     {"name": "A b"}, {"name": ""}, {"name": "../x"}],
)  # fmt: skip
def test_nonsense_is_refused_and_changes_nothing(platform: Platform, issue: Any, options: dict[str, str]) -> None:
    before = platform.issued_keys("chat").file.read_bytes()
    with pytest.raises(typer.BadParameter):
        issue(**{"name": "search"} | options)
    assert platform.issued_keys("chat").file.read_bytes() == before


def test_a_name_is_taken_once_an_endpoint(issue: Any) -> None:
    issue("search")
    issue("search", endpoint="other")
    for name, words in (("search", "there is a key search"), ("default", "the endpoint's own key")):
        with pytest.raises(RefusedError, match=words) as caught:
            issue(name)
        assert caught.value.fix


def test_a_revoked_key_is_gone_and_others_stay(context: Any, platform: Platform, issue: Any) -> None:
    issue("search")
    kept = [key_digest(issue("reports", tokens_per_day=5)["api_key"]), key_digest(issue("search", "other")["api_key"])]
    with pytest.raises(NotFoundError, match="has no key serch") as caught:
        revoke_key(context, "serch", "chat")
    assert caught.value.fix == "did you mean search?"
    revoke_key(context, "search", "chat")
    assert [*digests(platform, "chat"), *digests(platform, "other")] == kept
    assert platform.issued_keys("chat").list()[0].tokens_per_day == 5
    with pytest.raises(NotFoundError):
        revoke_key(context, "search", "chat")


def test_the_list_has_limits_and_use_and_no_hash(
    context: Any, platform: Platform, issue: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    issue("search", expires="1d")
    issue("reports", expires="never", tokens_per_day=100)
    monkeypatch.setattr("time.time", lambda: 4_102_444_800.0)  # 2100-01-01
    KeyUsage(platform.issued_keys("chat").usage, print).add("reports", "2100-01-01", 7)
    list_keys(context, "chat", as_json=True)
    search, reports, own = json.loads(capsys.readouterr().out)
    assert (search["expired"], reports["expired"], own["expired"]) == (True, False, False)
    assert (reports["expires"], reports["tokens_per_day"], reports["tokens_today"]) == ("never", 100, 7)
    assert (own["name"], own["tokens_today"]) == ("default", 0)
    assert not {"sha256", "api_key"} & {*search, *reports, *own}
    usage = platform.issued_keys("chat").usage
    assert usage
    for path in usage.parent.glob("usage.sqlite*"):
        path.write_bytes(b"no database" * 100)
    list_keys(context, "chat", as_json=True)
    captured = capsys.readouterr()
    assert [row["tokens_today"] for row in json.loads(captured.out)] == [None] * 3
    assert f"remove {usage}*" in captured.err


def test_a_half_written_file_is_not_written_over(platform: Platform, issue: Any) -> None:
    issue("search")
    file = platform.issued_keys("chat").file
    file.write_bytes(half := file.read_bytes()[:50])
    with pytest.raises(DocumentError, match="is not JSON"):
        issue("reports")
    assert file.read_bytes() == half


def test_more_keys_than_servers_read_are_refused(
    platform: Platform, issue: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    issue("search")
    monkeypatch.setattr("llmops_kit.cli.interfaces.issued_keys.MOST_FILE_BYTES", 300)
    with pytest.raises(RefusedError, match="more than 300 bytes"):
        issue("reports")
    assert len(platform.issued_keys("chat").list()) == 1


def test_commands_at_once_lose_no_key(tmp_path: Path) -> None:
    make_issued_keys(tmp_path / "keys.json")
    processes = [
        subprocess.Popen([sys.executable, "-c", ADDS, str(tmp_path), who], env={"PYTHONPATH": IMPORT_PATH})
        for who in "123"
    ]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert len(read_key_file(tmp_path / "keys.json")) == 60


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(KitError, match="can't be read"):
        IssuedKeys("chat", tmp_path / "none.json", tmp_path / "lock", None).list()
