"""What the stores of all clouds have in common, over objects in memory."""

import base64
import hashlib
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest

from llmops_kit.cli.store.bounded_file import Bounded
from llmops_kit.cli.store.remote_checks import Hashed, Stored
from llmops_kit.cli.store.remote_objects import Entry, RemoteObjects
from llmops_kit.core.documents.dataset import FileEntry
from llmops_kit.core.errors import IntegrityError, KitError
from llmops_kit.core.integrity.digest import list_files
from llmops_kit.core.layout import MANIFEST
from tests.support.tiny_models.versions import write_version


class MemoryObjects(RemoteObjects):
    """Objects in a dictionary; some may be out of reach for a while. `keeps`: whether it has the SHA-256 of each."""

    def __init__(self, cache: Path, keeps: bool = False) -> None:
        super().__init__("memory://bucket", cache)
        self.keeps = keeps
        self.copied: list[str] = []
        self.content: dict[str, bytes] = {}
        self.unreachable: set[str] = set()
        self.fetched: list[str] = []
        self.lies: dict[str, int] = {}  # sizes that a listing gives wrongly
        self._lock = threading.Lock()

    def _find(self, key: str, most: int) -> bytes | None:
        return self.content[key][:most] if key in self.content else None

    def _put(self, key: str, data: bytes) -> None:
        self.content[key] = data

    def _create(self, key: str, data: bytes) -> bool:
        with self._lock:
            if key in self.content:
                return False
            self.content[key] = data
            return True

    def folders(self, prefix: str) -> Iterator[str]:
        depth = prefix.count("/") + 1
        yield from sorted({"/".join(key.split("/")[:depth]) for key in self.content if key.startswith(prefix)})

    def _entries(self, prefix: str) -> dict[str, Entry]:
        there = {key: data for key, data in self.content.items() if key.startswith(prefix)}
        return {key: Entry(hashlib.md5(data).hexdigest(), self.lies.get(key, len(data))) for key, data in there.items()}

    def _exists(self, key: str) -> bool:
        return key in self.content

    def _upload(self, key: str, path: Path) -> None:
        self.content[key] = path.read_bytes()

    def _stored(self, key: str) -> Stored | None:
        if key not in self.content:
            return None
        digest = hashlib.sha256(self.content[key]).digest()
        return Stored(len(self.content[key]), base64.b64encode(digest).decode() if self.keeps else "", digest.hex())

    def copies_from(self, source: RemoteObjects) -> bool:
        return isinstance(source, MemoryObjects)

    def _copy(self, key: str, source: "MemoryObjects", source_key: str, etag: str, entry: FileEntry) -> None:
        name = key.rpartition("/")[2]
        if name in self.unreachable:
            raise ConnectionError(name)
        assert hashlib.md5(source.content[source_key]).hexdigest() == etag
        self.copied.append(name)
        self.content[key] = source.content[source_key]

    def _download(self, key: str, file: Bounded | Hashed) -> None:
        name = key.rpartition("/")[2]
        if name in self.unreachable:
            file.write(self.content[key][:1])
            raise ConnectionError(name)
        self.fetched.append(name)
        file.write(self.content[key])

    def _explained(self, where: str, fix: str = "") -> AbstractContextManager[None]:
        return nullcontext()


@pytest.fixture
def objects(tmp_path: Path) -> MemoryObjects:
    return MemoryObjects(tmp_path / "cache")


@pytest.fixture
def key(objects: MemoryObjects, tmp_path: Path) -> str:
    """A version's in the store."""
    folder = tmp_path / "version"
    write_version(folder, "chatbot", "w", passed=True, run="")
    key = f"models/{hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()}"
    assert objects.put_folder(key, folder, {"manifest.json.sig": b"signature"})
    assert not objects.put_folder(key, folder, {})
    return key


def test_a_folder_is_fetched_once_and_again_when_it_was_changed(objects: MemoryObjects, key: str) -> None:
    folder = objects.get_folder(key)
    count = len(objects.fetched)
    assert {f"{key}/{name}" for name in list_files(folder)} == set(objects.list(f"{key}/"))
    assert objects.get_folder(key) == folder
    assert len(objects.fetched) == count
    objects.put(f"{key}/manifest.json.sig", b"another")
    assert (objects.get_folder(key) / "manifest.json.sig").read_bytes() == b"another"


def interrupt(objects: MemoryObjects, key: str) -> Path:
    """Interrupt a fetch after its first file; what is kept of it."""
    objects.unreachable = {"openvino_model.xml"}
    with pytest.raises(ConnectionError):
        objects.get_folder(key)
    (kept,) = (objects.cache / "models").iterdir()
    assert (kept / "model.safetensors").read_bytes() == objects.content[f"{key}/model.safetensors"]
    return kept


def test_an_interrupted_fetch_is_gone_on_with(objects: MemoryObjects, key: str) -> None:
    interrupt(objects, key)
    objects.fetched, objects.unreachable = [], set()
    folder = objects.get_folder(key)
    assert objects.fetched == ["openvino_model.xml"]
    assert [p.name for p in folder.parent.iterdir() if p.name.startswith(".")] == []


def test_what_was_changed_meanwhile_is_fetched_anew(objects: MemoryObjects, key: str) -> None:
    interrupt(objects, key)
    objects.unreachable = set()
    objects.put(f"{key}/manifest.json.sig", b"another")
    assert (objects.get_folder(key) / "manifest.json.sig").read_bytes() == b"another"


def test_what_is_not_what_the_manifest_says_leaves_nothing(objects: MemoryObjects, key: str) -> None:
    objects.put(f"{key}/model.safetensors", b"other")
    with pytest.raises(IntegrityError, match="the manifest says") as caught:
        objects.get_folder(key)
    assert caught.value.where == f"memory://bucket/{key}/model.safetensors"
    assert not any((objects.cache / "models").iterdir())
    objects.put(f"{key}/{MANIFEST}", b"{}")
    with pytest.raises(IntegrityError, match="manifest was changed"):
        objects.get_folder(key)


def test_a_folder_without_its_manifest_is_not_there(objects: MemoryObjects, key: str) -> None:
    del objects.content[f"{key}/{MANIFEST}"]
    with pytest.raises(KitError, match="is not in the store"):
        objects.get_folder(key)
    with pytest.raises(KitError, match="is not in the store"):
        objects.get("models/none")
