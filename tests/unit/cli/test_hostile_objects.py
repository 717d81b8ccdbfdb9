"""Stores in which somebody wrote what they like: nothing of it leaves the folder that it is fetched into."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from llmops_kit.cli.store.objects import MOST_DOCUMENT_BYTES, FolderObjects, Objects
from llmops_kit.core.documents.store import StoreDocument
from llmops_kit.core.errors import IntegrityError, KitError
from llmops_kit.core.hashes import sha256_bytes
from llmops_kit.core.integrity.digest import list_files
from llmops_kit.core.layout import MANIFEST
from tests.support.hostile import everything, hostile_keys
from tests.support.tiny_models.versions import write_version
from tests.unit.cli.store.test_remote_objects import MemoryObjects, interrupt

pytestmark = pytest.mark.vulnerability(1)
FILES = {"model.safetensors", "openvino/openvino_model.xml", MANIFEST, "manifest.json.sig"}


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "precious").write_text("mine")
    return folder


@pytest.fixture
def objects(tmp_path: Path, outside: Path) -> MemoryObjects:
    return MemoryObjects(tmp_path / "cache")


@pytest.fixture
def folder_objects(tmp_path: Path, outside: Path) -> FolderObjects:
    StoreDocument.new(stack="dev").write(tmp_path / "store" / "store.json")
    return FolderObjects(tmp_path / "store")


@pytest.fixture
def key(objects: MemoryObjects, tmp_path: Path) -> str:
    write_version(tmp_path / "version", "chatbot", "weights", passed=True, run="")
    key = f"models/{sha256_bytes((tmp_path / 'version' / MANIFEST).read_bytes())}"
    objects.put_folder(key, tmp_path / "version", {"manifest.json.sig": b"signature"})
    return key


def forged(objects: MemoryObjects, names: list[str]) -> str:
    """A version with a manifest that lists such names, and an object for each; its key."""
    content = {name: hashlib.sha256(name.encode(errors="surrogatepass")).digest() for name in names}
    files = {name: {"sha256": sha256_bytes(data), "size": len(data)} for name, data in content.items()}
    manifest = json.dumps({"files": files}).encode()
    key = f"models/{sha256_bytes(manifest)}"
    objects.content |= {f"{key}/{name}": data for name, data in content.items()} | {f"{key}/{MANIFEST}": manifest}
    return key


def test_vulnerability_1_objects_that_the_manifest_does_not_list_are_not_fetched(
    objects: MemoryObjects, key: str, tmp_path: Path, outside: Path
) -> None:
    whole = dict(objects.content)
    before = everything(tmp_path, but=objects.cache)
    names = list(hostile_keys(3, 1_000, outside))
    for start in range(0, 1_000, 10):
        objects.content = whole | {f"{key}/{name}": b"owned" for name in names[start : start + 10]}
        objects.content |= {each: whole[each] for each in whole}  # a hostile name may be one of the version's
        shutil.rmtree(objects.cache, ignore_errors=True)
        folder = objects.get_folder(key)
        assert list_files(folder).keys() == FILES
        target = MemoryObjects(objects.cache / "target")
        written = {MANIFEST: whole[f"{key}/{MANIFEST}"]}
        target.copy_folder(key, objects, key, written, lambda: b"signature", lambda _: None)
        assert target.content.keys() == {f"{key}/{name}" for name in FILES}
    assert everything(tmp_path, but=objects.cache) == before


def test_vulnerability_1_manifests_that_list_other_places_are_refused(
    objects: MemoryObjects, tmp_path: Path, outside: Path
) -> None:
    before, refused = everything(tmp_path, but=objects.cache), 0
    fetched: set[str] = set()
    for name in hostile_keys(4, 1_000, outside):
        key = forged(objects, ["model.safetensors", name])
        target, manifest = MemoryObjects(objects.cache / "target"), objects.content[f"{key}/{MANIFEST}"]
        try:
            target.copy_folder(key, objects, key, {MANIFEST: manifest}, lambda: b"", lambda _: None)
        except IntegrityError:
            assert target.content == {}
        try:
            folder = objects.get_folder(key)
            fetched.add(folder.name)
            assert list_files(folder).keys() == {MANIFEST, "model.safetensors", name}
        except IntegrityError:
            refused += 1
    assert {path.name for path in (objects.cache / "models").iterdir() if path.is_dir()} == fetched
    assert everything(tmp_path, but=objects.cache) == before
    assert len(fetched) > 20
    assert refused > 500


@pytest.mark.parametrize("kind", ["objects", "folder_objects"])
def test_vulnerability_1_keys_are_checked_before_anything_is_written(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, outside: Path
) -> None:
    store: Objects = request.getfixturevalue(kind)
    write_version(tmp_path / "version", "chatbot", "weights", passed=True, run="")
    inside = tmp_path / ("store" if kind == "folder_objects" else "cache")
    before, made = everything(tmp_path, but=inside), 0
    for number, key in enumerate(hostile_keys(5, 1_000, outside)):
        calls: list[Callable[[], object]] = [
            lambda key=key: store.create(f"aliases/{key}", b"1") and store.get(f"aliases/{key}"),
            lambda key=key: store.create(key, b"1"),
            lambda key=key: store.get_folder(key),
            lambda key=key: store.put_folder(key, tmp_path / "version", {}),
            lambda key=key: store.put_folder("models/x", tmp_path / "version", {key: b"1"}),
        ]
        for call in calls if number % 4 == 0 else calls[:2]:
            try:
                made += bool(call())
            except KitError:
                continue
    assert made > 20
    assert everything(tmp_path, but=inside) == before


def test_vulnerability_1_a_listing_with_a_key_that_can_be_no_path_is_refused(objects: MemoryObjects) -> None:
    objects.content = {"aliases/models/chatbot/1.json": b"{}", "aliases/models/chatbot//2.json": b"{}"}
    with pytest.raises(IntegrityError, match="has an empty part") as caught:
        objects.list("aliases/models/")
    assert caught.value.where == "memory://bucket/aliases/models/"
    objects.content = {"aliases/a": b"{}", "aliases/a/b": b"{}"}
    with pytest.raises(IntegrityError, match="is a file and, for 'aliases/a/b', a folder"):
        objects.list("aliases/")


def test_vulnerability_1_a_store_in_a_folder_follows_no_links(folder_objects: FolderObjects, outside: Path) -> None:
    (folder_objects.root / "aliases").symlink_to(outside)
    for call in (
        lambda: folder_objects.get("aliases/precious"),
        lambda: folder_objects.create("aliases/new", b"1"),
        lambda: folder_objects.create("aliases/deep/new", b"1"),
    ):
        with pytest.raises(KitError):
            call()
    (folder_objects.root / "log").mkdir()
    (folder_objects.root / "log/1.json").symlink_to(outside / "precious")
    with pytest.raises(KitError):
        folder_objects.get("log/1.json")
    assert everything(outside) == {"precious": b"mine"}


def test_vulnerability_1_an_object_is_fetched_only_up_to_its_size(objects: MemoryObjects, key: str) -> None:
    name = f"{key}/model.safetensors"
    objects.lies[name] = len(objects.content[name])
    objects.content[name] += b"more"
    with pytest.raises(IntegrityError, match="has more bytes than the 7 that the manifest says") as caught:
        objects.get_folder(key)
    assert caught.value.where == f"memory://bucket/{name}"
    objects.content[name] = objects.content[name][:3]
    with pytest.raises(IntegrityError, match="has 3 bytes, the manifest says 7"):
        objects.get_folder(key)
    objects.content[name] = b"WEIGHTS"
    with pytest.raises(IntegrityError, match="sha256 differs"):
        objects.get_folder(key)
    del objects.content[name]
    with pytest.raises(IntegrityError, match="is missing, though the manifest lists it"):
        objects.get_folder(key)
    assert list((objects.cache / "models").iterdir()) == []


@pytest.mark.parametrize("kind", ["objects", "folder_objects"])
def test_vulnerability_1_a_document_is_read_only_up_to_a_size(kind: str, request: pytest.FixtureRequest) -> None:
    store: Objects = request.getfixturevalue(kind)
    store.create("aliases/large", b" " * (MOST_DOCUMENT_BYTES + 1))
    with pytest.raises(IntegrityError, match="is larger than 16 MiB") as caught:
        store.get("aliases/large")
    assert caught.value.where.endswith("aliases/large")


def test_vulnerability_1_what_was_kept_of_a_fetch_is_verified_again(
    objects: MemoryObjects, key: str, outside: Path
) -> None:
    kept = interrupt(objects, key)
    (kept / "model.safetensors").write_bytes(b"WEIGHTS")
    (kept / "added").write_bytes(b"1")
    objects.unreachable = set()
    folder = objects.get_folder(key)
    assert (folder / "model.safetensors").read_bytes() == b"weights"
    assert list_files(folder).keys() == FILES
    shutil.rmtree(objects.cache)
    kept = interrupt(objects, key)
    (kept / "model.safetensors").unlink()
    (kept / "model.safetensors").symlink_to(outside / "precious")
    objects.unreachable = set()
    assert list_files(objects.get_folder(key)).keys() == FILES
    assert everything(outside) == {"precious": b"mine"}


@pytest.mark.parametrize("change", ["flip", "add", "remove", "link", "manifest"])
def test_vulnerability_1_a_folder_of_the_cache_is_what_its_name_says(
    objects: MemoryObjects, key: str, outside: Path, change: str
) -> None:
    folder = objects.get_folder(key)
    weights = folder / "model.safetensors"
    if change == "flip":
        weights.write_bytes(b"WEIGHTS")
    elif change == "add":
        (folder / "code.py").write_bytes(b"1")
    elif change == "manifest":
        (folder / MANIFEST).write_bytes(b"{}")
    else:
        weights.unlink()
        if change == "link":
            weights.symlink_to(outside / "precious")
    again = objects.get_folder(key)
    assert (again / "model.safetensors").read_bytes() == b"weights"
    assert list_files(again).keys() == FILES
    assert everything(outside) == {"precious": b"mine"}
