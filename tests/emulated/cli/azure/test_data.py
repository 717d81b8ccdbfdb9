"""Data in a container, with the credentials of this shell."""

from pathlib import Path

import pytest

from llmops_kit.cli.data.items import Partial
from llmops_kit.cli.platforms.azure.platform import AzurePlatform
from llmops_kit.clouds.azure.objects import open_data
from llmops_kit.core.errors import DataError, IntegrityError, KitError, NotFoundError
from tests.emulated.cli.azure.conftest import MakePlatform
from tests.support.runs.collecting import collected, contents


def put(platform: AzurePlatform, name: str, content: bytes) -> None:
    container = platform.session.blobs(platform.azure.blob_url.rstrip("/")).get_container_client("work")
    container.upload_blob(name, content, overwrite=True)


def test_blobs_of_a_glob(make_platform: MakePlatform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    platform = make_platform()
    place = f"az://{platform.azure.storage_account}/work"
    for name in ("chats/1.jsonl", "chats/deep/größe 2.jsonl", "chats/3.csv", "chats/x.pkl", "other.jsonl"):
        put(platform, name, f'{{"k": "{name}"}}\n'.encode())
    found = collected(tmp_path, tmp_path / "out", f"{place}/chats/**/*.jsonl")
    names = ["1.jsonl", "deep/größe 2.jsonl"]
    assert contents(found) == {name: f'{{"k": "chats/{name}"}}\n'.encode() for name in names}
    with monkeypatch.context() as patch:
        patch.setattr(Partial, "fill", lambda *_: pytest.fail("it was read again"))
        assert collected(tmp_path, tmp_path / "out", f"{place}/chats/**/*.jsonl").files == found.files
    put(platform, "chats/1.jsonl", b"{}\n")
    again = collected(tmp_path, tmp_path / "out", f"{place}/chats/**/*.jsonl")
    assert (again.fetched, contents(again)["1.jsonl"]) == (1, b"{}\n")
    for glob in ("chats/*.parquet", "chats/*", "none/"):
        with pytest.raises(DataError):
            collected(tmp_path, tmp_path / "out", f"{place}/{glob}")


def test_a_blob_is_streamed_from_a_byte_on_while_it_is_the_same(make_platform: MakePlatform) -> None:
    platform = make_platform()
    content = bytes(range(256)) * 40_000
    put(platform, "big.txt", content)
    container, key = open_data(f"{platform.azure.storage_account}/work/big.txt")
    (entry,) = container.entries(key)
    assert b"".join(container.stream(key, entry.etag, 0)) == content
    assert b"".join(container.stream(key, entry.etag, 5_000_001)) == content[5_000_001:]
    put(platform, "big.txt", b"new")
    with pytest.raises(IntegrityError):
        list(container.stream(key, entry.etag, 0))


def test_what_is_not_there_is_refused(make_platform: MakePlatform, tmp_path: Path) -> None:
    platform = make_platform()
    with pytest.raises(NotFoundError):
        collected(tmp_path, tmp_path / "out", "az://nosuchaccount/work/*.csv")
    for place in (f"az://{platform.azure.storage_account}/none/*.csv", f"az://{platform.azure.storage_account}"):
        with pytest.raises(KitError):
            collected(tmp_path, tmp_path / "out", place)
