"""Datasets of the hub, by huggingface_hub itself, against a server of this machine that has the three addresses which
it uses: a dataset's description, and the head and content of a file.
"""

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from llmops_kit.cli.data.hub import find_on_hub
from llmops_kit.cli.data.items import FetchStoppedError, Partial, SourceContext
from llmops_kit.core.documents.recipe_data import DataSource
from llmops_kit.core.errors import DataError, KitError
from tests.support.runs.collecting import collected, contents
from tests.support.servers.http_servers import serving

COMMIT, TOKEN = "a" * 40, "value of hub"
FILES = {
    "README.md": b"# A dataset\n",
    "data/train.jsonl": b'{"text": "x"}\n' * 1000,
    "data/test.csv": b"a\n1\n",
    "data/weights.pkl": b"\x80\x04.",
    "loader.py": b"raise SystemExit",
}


class Hub(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    requests: list[str]
    lfs_of: dict[str, str]

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.requests.append(path)
        prefix = f"/datasets/org/name/resolve/{COMMIT}/"
        if self.headers.get("authorization") != f"Bearer {TOKEN}":
            self.answer(401, {}, b"{}")
        elif path == f"/api/datasets/org/name/revision/{COMMIT}":
            siblings = [
                {"rfilename": name, "size": len(content), "blobId": hashlib.sha1(content).hexdigest()}
                | (
                    {"lfs": {"sha256": self.lfs_of[name], "size": len(content), "pointerSize": 130}}
                    if name in self.lfs_of
                    else {}
                )
                for name, content in FILES.items()
            ]
            body = json.dumps({"_id": "1", "id": "org/name", "sha": COMMIT, "siblings": siblings}).encode()
            self.answer(200, {"Content-Type": "application/json"}, body)
        elif path.startswith(prefix) and path.removeprefix(prefix) in FILES:
            content = FILES[path.removeprefix(prefix)]
            headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
            self.answer(200, headers, content)
        else:
            self.answer(404, {"X-Error-Code": "RepoNotFound"}, b"{}")

    def answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    handler = type("OfHub", (Hub,), {"requests": [], "lfs_of": {}})
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), handler)) as server:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
        yield handler


def dataset(**fields: str) -> DataSource:
    return DataSource.model_validate(
        {"source": "hub:org/name", "revision": COMMIT, "token": "secret:hub", "licence": "MIT", **fields}
    )


def test_files_of_known_formats_come_once(hub: type[Hub], tmp_path: Path) -> None:
    hub.lfs_of["data/train.jsonl"] = hashlib.sha256(FILES["data/train.jsonl"]).hexdigest()
    found = collected(tmp_path, tmp_path / "out", dataset())
    assert contents(found) == {n: FILES[n] for n in ("README.md", "data/train.jsonl", "data/test.csv")}
    assert {each.revision for each in found.files} == {COMMIT}
    assert found.files[-1].url.endswith(f"/datasets/org/name/resolve/{COMMIT}/data/train.jsonl")
    before = len(hub.requests)
    again = collected(tmp_path, tmp_path / "out", dataset())
    assert (again.fetched, again.files, len(hub.requests)) == (0, found.files, before)
    assert not any(path.endswith((".py", ".pkl")) for path in hub.requests)


def test_a_glob_takes_some(hub: type[Hub], tmp_path: Path) -> None:
    assert list(contents(collected(tmp_path, tmp_path / "out", dataset(files="data/*.csv")))) == ["data/test.csv"]


@pytest.mark.parametrize("files", ["data/*", "**/*.pkl", "*.py", "none/*"])
def test_a_pickle_or_code_is_refused(hub: type[Hub], tmp_path: Path, files: str) -> None:
    with pytest.raises(DataError):
        collected(tmp_path, tmp_path / "out", dataset(files=files))


@pytest.mark.parametrize("change", [{"source": "hub:org/other"}, {"token": "secret:other"}])
def test_a_refusal_of_the_hub(hub: type[Hub], tmp_path: Path, change: dict[str, str]) -> None:
    with pytest.raises(KitError) as e:
        collected(tmp_path, tmp_path / "out", dataset(**change))
    assert e.value.fix


def test_another_content_than_the_hub_lists_is_refused(hub: type[Hub], tmp_path: Path) -> None:
    hub.lfs_of["data/train.jsonl"] = "0" * 64
    with pytest.raises(KitError):
        collected(tmp_path, tmp_path / "out", dataset())


def test_a_download_gives_way_when_the_command_ends(hub: type[Hub], tmp_path: Path) -> None:
    context = SourceContext(tmp_path, tmp_path, lambda name: f"value of {name}")
    (item,) = find_on_hub(dataset(files="data/*.jsonl"), context)
    stop = threading.Event()
    stop.set()
    with pytest.raises(FetchStoppedError):
        item.fetch(Partial(tmp_path / "a.jsonl", item.url, 10**6, stop), "")
    assert item.fetch(Partial(tmp_path / "a.jsonl", item.url, 10**6, threading.Event()), "") == COMMIT
    assert (tmp_path / "a.jsonl").read_bytes() == FILES["data/train.jsonl"]
