"""Files of a web server, against one on this machine that speaks TLS."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmops_kit.cli.data import https
from llmops_kit.cli.data.https import check_redirect
from llmops_kit.core.documents.recipe_data import DataSource
from llmops_kit.core.errors import DataError, KitError, RefusedError
from tests.support.runs.collecting import collected, contents
from tests.support.servers.https_site import ROWS, Site, running_site


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A server that this process trusts."""
    monkeypatch.setattr(https.time, "sleep", lambda _: None)
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with running_site(tmp_path_factory.mktemp("tls")) as (found, authority):
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
        yield found


def test_a_file_is_fetched_once(site: Site, tmp_path: Path) -> None:
    source = DataSource(source=f"{site.url}/a/rows.jsonl?signature=abc", licence="MIT")
    found = collected(tmp_path, tmp_path / "out", source)
    assert contents(found) == {"rows.jsonl": ROWS}
    (receipt,) = found.files
    assert (receipt.url, receipt.source) == (f"{site.url}/a/rows.jsonl",) * 2
    assert (receipt.revision, receipt.rows, receipt.licence) == ('"1"', 50_000, "MIT")
    again = collected(tmp_path, tmp_path / "out", source)
    assert (again.fetched, again.files, site.sent) == (0, found.files, len(ROWS))
    site.content, site.etag = b"{}\n", '"2"'
    assert contents(collected(tmp_path, tmp_path / "out", source)) == {"rows.jsonl": b"{}\n"}


def test_a_broken_connection_is_resumed(site: Site, tmp_path: Path) -> None:
    site.cut_after = [400_000, 100_000]
    assert contents(collected(tmp_path, tmp_path / "out", f"{site.url}/rows.jsonl")) == {"rows.jsonl": ROWS}
    starts = [int(asked.get("range", "bytes=0-")[6:-1]) for _, asked in site.requests]
    assert starts == sorted(starts)
    assert starts[0] == 0 < starts[-1]
    assert site.sent < 2 * len(ROWS)


def test_a_new_file_is_not_added_to_the_old_ones_part(site: Site, tmp_path: Path) -> None:
    site.cut_after = [100_000] * 5
    with pytest.raises(KitError):
        collected(tmp_path, tmp_path / "out", f"{site.url}/rows.jsonl")
    site.content, site.etag = ROWS.replace(b"n", b"m"), '"2"'
    assert contents(collected(tmp_path, tmp_path / "out", f"{site.url}/rows.jsonl")) == {"rows.jsonl": site.content}


@pytest.mark.parametrize("change", [{"ranges": False}, {"etag": 'W/"1"'}, {"etag": ""}])
def test_a_server_that_resumes_nothing_is_asked_anew(site: Site, tmp_path: Path, change: dict[str, Any]) -> None:
    vars(site).update(change, cut_after=[400_000])
    assert contents(collected(tmp_path, tmp_path / "out", f"{site.url}/rows.jsonl")) == {"rows.jsonl": ROWS}


def test_without_a_revision_each_collect_fetches(site: Site, tmp_path: Path) -> None:
    site.etag = ""
    for _ in range(2):
        assert collected(tmp_path, tmp_path / "out", f"{site.url}/rows.jsonl").fetched == 1


def test_a_busy_server_is_asked_again(site: Site, tmp_path: Path) -> None:
    site.busy = 3
    assert collected(tmp_path, tmp_path / "out", f"{site.url}/rows.jsonl").fetched == 1


@pytest.mark.parametrize("name", ["none.jsonl", "secret.jsonl"])
def test_a_refusal_says_its_status(site: Site, tmp_path: Path, name: str) -> None:
    site.token = "" if name == "none.jsonl" else "x"
    with pytest.raises(KitError, match="404" if name == "none.jsonl" else "403"):
        collected(tmp_path, tmp_path / "out", f"{site.url}/{name}")
    assert len(site.requests) == 1


def test_a_token_stays_with_its_host(site: Site, tmp_path: Path) -> None:
    site.token = "value of name"
    source = DataSource(source=f"{site.url}/rows.jsonl", token="secret:name")
    assert collected(tmp_path, tmp_path / "out", source).fetched == 1
    site.redirects = {"/other.jsonl": site.url.replace("localhost", "127.0.0.1") + "/rows.jsonl"}
    with pytest.raises(KitError, match="403"):
        collected(tmp_path, tmp_path / "out", DataSource(source=f"{site.url}/other.jsonl", token="secret:name"))
    assert "authorization" not in site.requests[-1][1]


def test_too_much_is_refused(site: Site, tmp_path: Path) -> None:
    with pytest.raises(DataError):
        collected(tmp_path, tmp_path / "out", f"{site.url}/rows.jsonl", file=100_000)
    assert not list((tmp_path / "out").rglob("rows.jsonl"))


def test_content_that_the_server_packs_is_refused(site: Site, tmp_path: Path) -> None:
    site.packed = True
    with pytest.raises(KitError):
        collected(tmp_path, tmp_path / "out", f"{site.url}/rows.jsonl")


def test_redirects_are_followed_within_the_rules(site: Site, tmp_path: Path) -> None:
    site.redirects = {"/1.jsonl": "/2.jsonl", "/2.jsonl": f"{site.url}/rows.jsonl", "/loop.jsonl": "/loop.jsonl"}
    assert contents(collected(tmp_path, tmp_path / "out", f"{site.url}/1.jsonl")) == {"1.jsonl": ROWS}
    with pytest.raises(KitError):
        collected(tmp_path, tmp_path / "out", f"{site.url}/loop.jsonl")


@pytest.mark.parametrize(
    "target",
    [
        "http://localhost/rows.jsonl",
        "https://169.254.169.254/latest/meta-data",
        "https://[fe80::1]/x",
        "https://[::ffff:169.254.169.254]/x",
        "https://0.0.0.0/x",
        "https://me@localhost/x",
        "file:///etc/passwd",
        "//169.254.169.254/x",
    ],
)
def test_a_redirect_elsewhere_is_refused(site: Site, tmp_path: Path, target: str) -> None:
    site.redirects = {"/rows.jsonl": target}
    with pytest.raises(RefusedError):
        collected(tmp_path, tmp_path / "out", f"{site.url}/rows.jsonl")
    assert len(site.requests) == 1


@pytest.mark.parametrize("inside", ["10.0.0.1", "192.168.1.1", "127.0.0.1", "[::1]", "[fd00::1]", "100.64.0.1"])
def test_the_internet_does_not_lead_into_this_network(inside: str) -> None:
    with pytest.raises(RefusedError):
        check_redirect("https://93.184.215.14/a", f"https://{inside}/b")
    check_redirect("https://93.184.215.14/a", "https://1.1.1.1/b")
    check_redirect("https://10.0.0.1/a", "https://192.168.1.1/b")
    with pytest.raises(RefusedError):
        check_redirect("https://10.0.0.1/a", "https://127.0.0.1/b")
    with pytest.raises(RefusedError):
        check_redirect("https://169.254.1.1/a", "https://169.254.169.254/b")


def test_a_certificate_that_nobody_trusts_is_refused(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(KitError):
        collected(tmp_path, tmp_path / "out", f"{site.url}/rows.jsonl")
    assert site.requests == []
