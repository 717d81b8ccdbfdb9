"""What a cloud says of an object against what a manifest lists, and how a version is copied and verified by it."""

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from llmops_kit.cli.store.remote_checks import Hashed, Stored, fits
from llmops_kit.cli.store.store import Store
from llmops_kit.cli.store.versions import FolderVersion, RemoteVersion
from llmops_kit.core.documents.dataset import PART_BYTES, FileEntry
from llmops_kit.core.documents.model import ModelManifest
from llmops_kit.core.errors import IntegrityError, SignatureError
from llmops_kit.core.integrity.digest import file_entry
from llmops_kit.core.integrity.signing import make_key, sign
from llmops_kit.core.layout import MANIFEST, SIGNATURE
from tests.support.tiny_models.versions import write_version
from tests.unit.cli.store.test_remote_objects import MemoryObjects

WORK = "runs/r/output/j/model"


def base64_of(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> FileEntry:
    """Two parts: one of nothing but zeros, and one byte."""
    path = tmp_path_factory.mktemp("large") / "weights"
    with path.open("wb") as file:
        file.seek(PART_BYTES)
        file.write(b"w")
    return file_entry(path)


def test_a_large_files_parts_are_hashed_and_a_small_ones_entry_stays_as_it_was(
    large: FileEntry, tmp_path: Path
) -> None:
    zeros = hashlib.sha256(bytes(PART_BYTES))
    assert large.parts == [zeros.hexdigest(), hashlib.sha256(b"w").hexdigest()]
    zeros.update(b"w")
    assert large.sha256 == zeros.hexdigest()
    (tmp_path / "small").write_bytes(b"w")
    entry = file_entry(tmp_path / "small")
    assert entry.model_dump(mode="json") == {"sha256": hashlib.sha256(b"w").hexdigest(), "size": 1}


def test_sums_of_the_whole_and_of_the_parts_are_known(large: FileEntry) -> None:
    whole = base64.b64encode(bytes.fromhex(large.sha256)).decode()
    composite = base64_of(b"".join(bytes.fromhex(part) for part in large.parts))
    for sum_ in (whole, f"{composite}-2"):
        assert fits(Stored(large.size, sum_), large, "here")
    for sum_ in ("", f"{composite}-3", f"{base64_of(b'other parts')}-2"):
        assert not fits(Stored(large.size, sum_), large, "here"), "has to be read"
    with pytest.raises(IntegrityError, match="the store keeps of it differs"):
        fits(Stored(large.size, composite), large, "here")  # as if it were of the whole
    with pytest.raises(IntegrityError, match="the manifest says"):
        fits(Stored(large.size - 1, whole), large, "here")


def test_what_is_hashed_and_not_kept_has_the_size_and_the_hash() -> None:
    entry = FileEntry(sha256=hashlib.sha256(b"weights").hexdigest(), size=7)
    for pieces in ([b"weig", b"hts"], [memoryview(b"weights")]):
        hashed = Hashed(entry, "here")
        for piece in pieces:
            assert hashed.write(piece) == len(piece)
        hashed.check()
    for pieces, words in (([b"weight"], "differs"), ([b"WEIGHTS"], "differs")):
        hashed = Hashed(entry, "here")
        hashed.write(pieces[0])
        with pytest.raises(IntegrityError, match=words):
            hashed.check()
    hashed = Hashed(entry, "here")
    with pytest.raises(IntegrityError, match="has more bytes than the 7"):
        hashed.write(b"weights and more")


class World:
    """A place of runs with a version, and a store in the same cloud, which keeps SHA-256 sums or does not."""

    def __init__(self, folder: Path, keeps: bool) -> None:
        write_version(folder / "version", "chatbot", "weights", passed=True, run="")
        self.work = MemoryObjects(folder / "work-cache", keeps)
        self.objects = MemoryObjects(folder / "store-cache", keeps)
        for path in (each for each in (folder / "version").rglob("*") if each.is_file()):
            self.work.content[f"{WORK}/{path.relative_to(folder / 'version').as_posix()}"] = path.read_bytes()
        self.store, self.said, self.signed = Store(self.objects), list[str](), list[bytes]()
        self._key = folder / "signing.key"
        self.public_key = make_key(self._key)
        self.manifest = self.work.content[f"{WORK}/{MANIFEST}"]
        self.key = f"models/{hashlib.sha256(self.manifest).hexdigest()}"

    def sign(self, folder: Path) -> None:
        self.signed.append((folder / MANIFEST).read_bytes())
        sign(folder, self._key)

    def collect(self) -> str:
        return self.store.put_model(RemoteVersion(self.work, WORK), self.sign, say=self.said.append).alias

    def verify(self) -> None:
        self.store.verify_model(self.store.find("chatbot@latest"), self.public_key, self.said.append)


@pytest.fixture(params=[True, False], ids=["sums", "no-sums"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return World(tmp_path, request.param)


def test_weights_are_copied_in_the_cloud_and_verified_there(world: World) -> None:
    world.work.content[f"{WORK}/log.txt"] = b"beside"
    assert world.collect() == "chatbot@1"
    assert world.work.fetched == []
    names = {"model.safetensors", "openvino/openvino_model.xml", MANIFEST, SIGNATURE}
    assert set(world.objects.list(f"{world.key}/")) == {f"{world.key}/{name}" for name in names}
    read = [] if world.objects.keeps else ["model.safetensors", "openvino_model.xml"]
    assert sorted(world.objects.fetched) == read, "what is here is read where no sum is, and once"
    world.verify()
    assert sorted(world.objects.fetched) == read
    words = (
        ("the store keeps",) * 2 if world.objects.keeps else ("reading 0.0 MB to verify", "this machine has read them")
    )
    assert all(word in line for word, line in zip(words, [world.said[1], world.said[-1]], strict=True))
    assert world.collect() == "chatbot@1"
    assert len(world.signed) == 1


@pytest.mark.parametrize("copies", [True, False])
def test_files_that_the_caller_writes_stand_over_the_versions_own(world: World, copies: bool, tmp_path: Path) -> None:
    files = {"judgements.json": b"{}", "openvino/openvino_model.xml": b"<other/>"}
    entries = {name: FileEntry(sha256=hashlib.sha256(data).hexdigest(), size=len(data)) for name, data in files.items()}
    claimed = ModelManifest.parse(world.manifest, where="here")
    manifest = claimed.model_copy(update={"files": {**claimed.files, **entries}}).to_json().encode()
    checked = hashlib.sha256(world.manifest).hexdigest()
    version = RemoteVersion(world.work, WORK) if copies else FolderVersion(tmp_path / "version")
    ref = world.store.put_model(version, world.sign, checked, world.said.append, {**files, MANIFEST: manifest})
    assert ref.sha256 == hashlib.sha256(manifest).hexdigest()
    world.verify()
    assert all(world.objects.content[f"models/{ref.sha256}/{name}"] == data for name, data in files.items())
    assert set(world.objects.copied) == ({"model.safetensors"} if copies else set())
    assert world.signed == [manifest]
    with pytest.raises(IntegrityError, match="changed after it was checked"):
        world.store.put_model(version, world.sign, "0" * 64, world.said.append, {**files, MANIFEST: manifest})


@pytest.mark.vulnerability(5)
@pytest.mark.parametrize("size", ["same", "other"])
def test_vulnerability_5_tampered_weights_in_the_source_are_not_signed(world: World, size: str) -> None:
    world.work.content[f"{WORK}/model.safetensors"] = b"WEIGHTS" if size == "same" else b"W"
    with pytest.raises(IntegrityError, match=r"was changed: |the manifest says"):
        world.collect()
    assert world.signed == []
    assert world.store.versions() == []
    assert f"{world.key}/{MANIFEST}" not in world.objects.content
    world.work.content[f"{WORK}/model.safetensors"] = b"weights"
    assert world.collect() == "chatbot@1", "what a refused copy left is written over"


@pytest.mark.vulnerability(5)
def test_vulnerability_5_weights_that_are_swapped_between_copy_and_check_are_not_signed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = world.objects._copy

    def swapped(key: str, *more: object) -> None:
        copy(key, *more)  # type: ignore[arg-type]
        if key.endswith("model.safetensors"):
            world.objects.content[key] = b"WEIGHTS"

    monkeypatch.setattr(world.objects, "_copy", swapped)
    with pytest.raises(IntegrityError, match="was changed: ") as caught:
        world.collect()
    assert caught.value.where == f"memory://bucket/{world.key}/model.safetensors"
    assert world.signed == []


@pytest.mark.vulnerability(5)
def test_vulnerability_5_weights_that_are_swapped_while_they_are_read_are_read_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no sum is: the bytes that fitted are another write's than those that stay."""
    world.collect()
    name = f"{world.key}/model.safetensors"
    download = world.objects._download

    def swapped(key: str, file: Hashed) -> None:
        download(key, file)
        if key == name:
            world.objects.content[key] = b"WEIGHTS"

    for notes in world.objects.cache.rglob("*.read.json"):
        notes.unlink()
    monkeypatch.setattr(world.objects, "_download", swapped)
    world.verify()
    if world.objects.keeps:
        world.objects.content[name] = b"WEIGHTS"
    with pytest.raises(IntegrityError, match="was changed: "):
        world.verify()


def test_an_interrupted_copy_is_gone_on_with(world: World) -> None:
    world.objects.unreachable = {"openvino_model.xml"}
    with pytest.raises(ConnectionError):
        world.collect()
    assert world.objects.copied == ["model.safetensors"]
    world.objects.unreachable = set()
    assert world.collect() == "chatbot@1"
    assert world.objects.copied == ["model.safetensors", "openvino_model.xml"]
    world.verify()


Change = Callable[[World], object]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda w: w.objects.content.update({f"{w.key}/model.safetensors": b"WEIGHTS"}), IntegrityError),
        (lambda w: w.objects.content.pop(f"{w.key}/model.safetensors"), IntegrityError),
        (lambda w: w.objects.content.update({f"{w.key}/{SIGNATURE}": b"bm9uZQ=="}), SignatureError),
    ],
    ids=["changed", "missing", "unsigned"],
)
def test_a_version_that_was_changed_in_the_store_is_refused(
    world: World, change: Change, error: type[Exception]
) -> None:
    world.collect()
    change(world)
    with pytest.raises(error):
        world.verify()


def test_a_version_of_another_cloud_comes_through_this_machine(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    world.collect()
    other = Store(MemoryObjects(tmp_path / "other"))
    monkeypatch.setattr(MemoryObjects, "copies_from", lambda self, source: False)
    found = world.store.version(world.store.find("chatbot@1"))
    assert other.put_model(found, world.sign, say=world.said.append).alias == "chatbot@1"
    assert "fetching memory://bucket/models/" in world.said[-1]
    other.verify_model(other.find("chatbot@1"), world.public_key, world.said.append)
