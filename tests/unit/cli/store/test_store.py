import multiprocessing
import os
import resource
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from llmops_kit.cli.platforms.local.platform import LocalPlatform
from llmops_kit.cli.store.objects import FolderObjects
from llmops_kit.cli.store.store import Store
from llmops_kit.core.documents.store import Alias
from llmops_kit.core.errors import IntegrityError, KitError, SignatureError
from llmops_kit.core.layout import MANIFEST, alias_key, model_key
from tests.support.tiny_models.versions import open_verified
from tests.unit.cli.conftest import make_platform

MakeVersion = Callable[..., Path]


def test_a_version_is_stored_signed_and_found_by_alias_and_identity(
    platform: LocalPlatform, make_version: MakeVersion
) -> None:
    store = platform.store()
    folder = make_version(weights="one")
    before = sorted(p.name for p in folder.rglob("*"))

    ref = store.put_model(folder, platform.sign)

    assert ref.alias == "chatbot@1"
    assert store.find("chatbot@latest") == store.find("chatbot@1") == store.find(str(ref)) == ref
    assert store.find(f"chatbot@sha256:{ref.sha256}") == ref
    open_verified(store.model_folder(ref.sha256), platform.outputs.signing.public_key, ref.sha256)
    assert sorted(p.name for p in folder.rglob("*")) == before  # what was put stays unsigned, as it was
    assert all(p.stat().st_mode & 0o222 == 0 for p in store.model_folder(ref.sha256).rglob("*") if p.is_file())


def test_the_same_version_keeps_its_number_and_another_gets_the_next(
    platform: LocalPlatform, make_version: MakeVersion
) -> None:
    store = platform.store()
    one, two = make_version(weights="one"), make_version(weights="two")
    numbers = [store.put_model(f, platform.sign).number for f in (one, two, one, two)]
    assert numbers == [1, 2, 1, 2]
    assert store.put_model(make_version(name="other"), platform.sign).alias == "other@1"


def _put(platform: LocalPlatform, folder: Path, barrier: object, results: object) -> None:
    barrier.wait()  # type: ignore[attr-defined]
    results.put(platform.store().put_model(folder, platform.sign).number)  # type: ignore[attr-defined]


def test_writers_at_the_same_time_get_different_numbers(platform: LocalPlatform, make_version: MakeVersion) -> None:
    spawn = multiprocessing.get_context("fork")
    folders = [make_version(weights=f"w{i % 4}") if i < 4 else None for i in range(8)]
    chosen = [folders[i % 4] for i in range(8)]  # each version twice
    barrier, results = spawn.Barrier(8), spawn.Queue()
    writers = [spawn.Process(target=_put, args=(platform, f, barrier, results)) for f in chosen]
    for w in writers:
        w.start()
    numbers = sorted(results.get(timeout=120) for _ in writers)
    for w in writers:
        w.join()
    assert numbers == [1, 1, 2, 2, 3, 3, 4, 4]
    assert [a.number for a in platform.store().versions()] == [1, 2, 3, 4]


@pytest.mark.parametrize("change", ["flip", "add", "remove", "rename"])
def test_a_folder_that_is_not_what_its_manifest_says_is_not_stored(
    platform: LocalPlatform, make_version: MakeVersion, change: str
) -> None:
    folder = make_version()
    weights = folder / "model.safetensors"
    if change == "flip":
        weights.write_text("v")
    elif change == "add":
        (folder / "extra.py").touch()
    elif change == "remove":
        weights.unlink()
    else:
        weights.rename(folder / "model2.safetensors")
    with pytest.raises(IntegrityError) as caught:
        platform.store().put_model(folder, platform.sign)
    assert str(folder) in caught.value.where
    assert not (Path(platform.outputs.training.runs).parent / "store" / "models").exists()


def test_unknown_and_mismatched_versions_say_what_there_is(platform: LocalPlatform, make_version: MakeVersion) -> None:
    store = platform.store()
    with pytest.raises(KitError, match="which holds no model version"):
        store.find("chatbot@1")
    ref = store.put_model(make_version(), platform.sign)
    with pytest.raises(KitError, match="chatbot@7 is not in the store, which holds chatbot@1"):
        store.find("chatbot@7")
    with pytest.raises(KitError) as caught:
        store.find("chatbt@latest")
    assert caught.value.fix == "did you mean chatbot?"
    with pytest.raises(KitError, match=f"chatbot@1 is sha256:{ref.sha256[:12]}… in the store"):
        store.find(f"chatbot@1@sha256:{'0' * 64}")


def test_a_changed_manifest_is_noticed_when_it_is_read(platform: LocalPlatform, make_version: MakeVersion) -> None:
    store = platform.store()
    ref = store.put_model(make_version(), platform.sign)
    manifest = store.model_folder(ref.sha256) / "manifest.json"
    text = manifest.read_text()
    manifest.unlink()
    manifest.write_text(text.replace('"passed": true', '"passed": false'))
    with pytest.raises(IntegrityError, match="was changed"):
        store.manifest(ref)


def _put_with_little_room(platform: LocalPlatform, folder: Path, results: object) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))  # stands for a full disk: a write ends with EFBIG
    try:
        platform.store().put_model(folder, platform.sign)
        results.put("stored")  # type: ignore[attr-defined]
    except KitError as e:
        results.put(str(e))  # type: ignore[attr-defined]


@pytest.mark.scorecard("disk-full")
def test_a_full_disk_leaves_nothing_half_written(platform: LocalPlatform, make_version: MakeVersion) -> None:
    folder = make_version(weights="x" * 200_000)
    spawn = multiprocessing.get_context("fork")
    results = spawn.Queue()
    process = spawn.Process(target=_put_with_little_room, args=(platform, folder, results))
    process.start()
    message = results.get(timeout=120)
    process.join()

    assert "the disk is full; nothing was stored" in message
    assert "fix: " in message
    root = Path(platform.outputs.training.runs).parent / "store"
    assert [p.name for p in root.rglob("*") if p.is_file()] == ["store.json"]
    assert platform.store().put_model(folder, platform.sign).alias == "chatbot@1"  # and works once there is room


def test_what_a_killed_writer_left_is_swept_and_a_living_one_is_left_alone(
    platform: LocalPlatform, make_version: MakeVersion
) -> None:
    import socket

    dead = subprocess.Popen(["true"])
    dead.wait()
    incoming = Path(platform.outputs.training.runs).parent / "store" / ".incoming"
    left, kept = (incoming / f"{socket.gethostname()}-{pid}-00" for pid in (dead.pid, os.getppid()))
    for folder in (left, kept):
        folder.mkdir(parents=True)
    platform.store().put_model(make_version(), platform.sign)
    assert not left.exists()
    assert kept.exists()


def test_put_goes_on_after_a_writer_died_between_files_and_alias(
    platform: LocalPlatform, make_version: MakeVersion
) -> None:
    store = platform.store()
    ref = store.put_model(make_version(), platform.sign)
    shutil.rmtree(Path(platform.outputs.training.runs).parent / "store" / "aliases")
    assert store.put_model(make_version_again(make_version), platform.sign) == ref


def make_version_again(make_version: MakeVersion) -> Path:
    """The same version from another folder."""
    folder = make_version(weights="again")
    shutil.rmtree(folder)
    shutil.copytree(folder.with_name("version-chatbot-w"), folder)
    return folder


def test_a_folder_that_is_no_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KitError, match="is not a store"):
        FolderObjects(tmp_path).create("a", b"")
    assert list(tmp_path.iterdir()) == []


def plant(platform: LocalPlatform, key: str, name: str, number: int, sha256: str) -> None:
    """An alias, as somebody writes it who may write the store."""
    alias = Alias.new(name=name, number=number, sha256=sha256, created="2026-11-25T12:00:00Z")
    platform.store().objects.create(key, alias.to_json().encode())


@pytest.mark.vulnerability(5)
def test_vulnerability_5_an_alias_of_a_version_of_another_name_is_refused(
    platform: LocalPlatform, make_version: MakeVersion
) -> None:
    store = platform.store()
    ref = store.put_model(make_version(name="chatbot"), platform.sign)
    plant(platform, alias_key("finance", 1), "finance", 1, ref.sha256)
    for text in ("finance@1", "finance@latest", f"finance@1@sha256:{ref.sha256}"):
        with pytest.raises(IntegrityError, match="the version is named chatbot, but its alias is finance@1"):
            store.find(text)
    with pytest.raises(IntegrityError, match="is named chatbot"):
        store.of_run("finance", "chatbot-run")


def test_a_runs_version_is_the_one_that_it_made_and_not_its_conversion(
    platform: LocalPlatform, make_version: MakeVersion
) -> None:
    store = platform.store()
    made = store.put_model(make_version(run="run-1"), platform.sign)
    converted = store.put_model(make_version(weights="converted", run="run-1"), platform.sign)
    assert (converted.number, store.of_run(made.name, "run-1")) == (made.number + 1, made)


@pytest.mark.vulnerability(5)
def test_vulnerability_5_an_alias_under_the_key_of_another_is_refused(
    platform: LocalPlatform, make_version: MakeVersion
) -> None:
    ref = platform.store().put_model(make_version(name="chatbot"), platform.sign)
    plant(platform, alias_key("chatbot", 2), "chatbot", 9, ref.sha256)
    with pytest.raises(IntegrityError, match="claims to be the alias chatbot@9"):
        platform.store().versions()


@pytest.mark.vulnerability(5)
def test_vulnerability_5_a_version_that_nobody_signed_is_registered_nowhere(
    platform: LocalPlatform, make_version: MakeVersion, tmp_path: Path
) -> None:
    other = make_platform(tmp_path / "other", "other")
    ref = platform.store().put_model(make_version(), other.sign)
    with pytest.raises(SignatureError):
        platform.store().signed_manifest(ref, platform.outputs.signing.public_key)


@pytest.mark.vulnerability(5)
def test_vulnerability_5_a_manifest_that_is_swapped_between_two_reads_is_refused(
    platform: LocalPlatform, make_version: MakeVersion
) -> None:
    store = platform.store()
    assert isinstance(store.objects, FolderObjects)
    root = store.objects.root
    signed, other = (store.put_model(make_version(weights=each), platform.sign) for each in ("one", "two"))
    folder = root / model_key(other.sha256)
    manifest = (folder / MANIFEST).read_bytes()
    shutil.copytree(root / model_key(signed.sha256), folder, dirs_exist_ok=True, copy_function=_replace)

    class Swapping(FolderObjects):
        """A store whose writer puts the right manifest back after it was read once."""

        def get(self, key: str) -> bytes:
            content = super().get(key)
            if key.endswith(MANIFEST) and other.sha256 in key:
                _replace(make_file(manifest), folder / MANIFEST)
            return content

    def make_file(content: bytes) -> Path:
        path = root / "swapped"
        path.write_bytes(content)
        return path

    with pytest.raises(IntegrityError, match="was changed"):
        Store(Swapping(root)).signed_manifest(other, platform.outputs.signing.public_key)


def _replace(source: str | Path, target: str | Path) -> None:
    """Over a file that is read-only."""
    Path(target).unlink(missing_ok=True)
    shutil.copyfile(source, target)
