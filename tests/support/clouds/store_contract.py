"""What a store in a cloud promises, for every cloud: a test module inherits `StoreContract` and says how it writes.

Its folder's conftest has the fixture `make_platform`, which makes a deployed stack without endpoints.
"""

import random
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmops_kit.cli.deploying.promotion import promote
from llmops_kit.cli.stacks.stack_file import StackFile
from llmops_kit.cli.store.remote_objects import RemoteObjects
from llmops_kit.cli.store.resigning import resign, revoke_version, signatures
from llmops_kit.cli.store.versions import RemoteVersion
from llmops_kit.core.errors import IntegrityError, KitError, RefusedError
from llmops_kit.core.integrity.digest import list_files
from llmops_kit.core.integrity.envelopes import key_id
from llmops_kit.core.integrity.signing import key_of_file, make_key, public_key_of
from llmops_kit.core.layout import MANIFEST, SIGNATURE, model_key, rejection_log
from tests.support.counting import received
from tests.support.hostile import everything
from tests.support.tiny_models.versions import open_verified, write_version

_OUTPUT = "runs/r/output/j/model"
_WEIGHTS = 4 << 20
_OVERHEAD = 200_000
MakePlatform = Callable[..., Any]
MakeVersion = Callable[..., Path]


class StoreContract(ABC):
    """Everything that the store in a folder promises too."""

    target = ""
    keeps_sums = False
    """Whether the cloud keeps a SHA-256 of each object."""

    @abstractmethod
    def work(self, platform: Any) -> RemoteObjects:
        """The place of runs."""

    @abstractmethod
    def write(self, platform: Any, key: str, data: bytes) -> None:
        """Write an object into the store as somebody else would, over one that may be there."""

    @pytest.fixture
    def make_version(self, tmp_path: Path) -> MakeVersion:
        def make(name: str = "chatbot", weights: str = "w") -> Path:
            folder = tmp_path / f"{name}-{weights[:16]}"
            if not folder.exists():
                write_version(folder, name, weights, passed=True, run="")
            return folder

        return make

    def test_a_version_is_stored_signed_by_the_stacks_key_and_verified(
        self, make_platform: MakePlatform, make_version: MakeVersion
    ) -> None:
        platform = make_platform()
        ref = platform.store().put_model(make_version(), platform.sign)
        assert ref.alias == "chatbot@1"
        assert platform.store().put_model(make_version(), platform.sign) == ref
        folder = platform.store().model_folder(ref.sha256)
        assert open_verified(folder, platform.outputs.signing.public_key, ref.sha256).name == "chatbot"
        assert platform.store().find("chatbot@latest") == ref
        assert platform.store().put_model(make_version(weights="other"), platform.sign).alias == "chatbot@2"

    def test_a_version_is_signed_anew_and_revoked(
        self, make_platform: MakePlatform, make_version: MakeVersion, tmp_path: Path
    ) -> None:
        platform, key = make_platform(), tmp_path / "further.key"
        store, stacks_own = platform.store(), platform.outputs.signing.public_key
        both = stacks_own + make_key(key)
        ref = store.put_model(make_version(), platform.sign)
        folder = store.model_folder(ref.sha256)
        assert resign(store, ref, both, key_of_file(key), print)
        found = signatures(store, ref, both)
        assert [each.key_id for each in found] == [key_id(public_key_of(key)), key_id(stacks_own)]
        assert found[1].signer == platform.signing_key.signer != ""
        open_verified(store.model_folder(ref.sha256), public_key_of(key), ref.sha256)
        revoke_version(store, ref, stacks_own, platform.signing_key, "leaked data")
        for refused in (
            lambda: store.verify_model(ref, stacks_own, print),
            lambda: open_verified(store.model_folder(ref.sha256), stacks_own, ref.sha256),
        ):
            with pytest.raises(RefusedError, match="leaked data"):
                refused()
        assert (folder / SIGNATURE).read_bytes().count(b"\n") == 1, "the cached copy was fetched again"

    def test_writers_at_the_same_time_get_different_numbers(
        self, make_platform: MakePlatform, make_version: MakeVersion
    ) -> None:
        platform = make_platform()
        folders = [make_version(weights=f"w{i}") for i in range(3)]
        platform.store()
        numbers: list[int] = []

        def put(folder: Path) -> None:
            numbers.append(platform.store().put_model(folder, platform.sign).number)

        threads = [threading.Thread(target=put, args=(f,)) for f in [*folders, *folders]]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(numbers) == [1, 1, 2, 2, 3, 3]

    def test_a_folder_is_not_there_before_its_manifest(
        self, make_platform: MakePlatform, make_version: MakeVersion, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        objects = make_platform().store().objects
        assert isinstance(objects, RemoteObjects)
        uploaded: list[str] = []
        upload = objects._upload

        def interrupted(key: str, path: Path) -> None:
            if uploaded:
                raise KeyboardInterrupt
            uploaded.append(key)
            upload(key, path)

        monkeypatch.setattr(objects, "_upload", interrupted)
        with pytest.raises(KeyboardInterrupt):
            objects.put_folder("models/abc", make_version(), {})
        with pytest.raises(KitError, match="is not in the store"):
            objects.get_folder("models/abc")
        monkeypatch.setattr(objects, "_upload", upload)
        assert objects.put_folder("models/abc", make_version(), {})
        assert not objects.put_folder("models/abc", make_version(), {})

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ("model.safetensors", "bytes, the manifest says"),
            (MANIFEST, "manifest was changed"),
        ],
    )
    def test_what_was_changed_is_found_though_this_machine_has_a_copy(
        self, make_platform: MakePlatform, make_version: MakeVersion, change: str, words: str
    ) -> None:
        platform = make_platform()
        ref = platform.store().put_model(make_version(), platform.sign)
        first = platform.store().model_folder(ref.sha256)
        assert platform.store().model_folder(ref.sha256) == first
        self.write(platform, f"{model_key(ref.sha256)}/{change}", b'{"files": {}}')
        with pytest.raises(IntegrityError, match=words) as caught:
            platform.store().model_folder(ref.sha256)
        assert caught.value.where.startswith(f"{platform.outputs.store.url}/models/")

    @pytest.mark.vulnerability(1)
    def test_vulnerability_1_objects_beside_a_version_are_not_fetched_and_shown(
        self, make_platform: MakePlatform, make_version: MakeVersion, tmp_path: Path
    ) -> None:
        """Shown by an attack: the name that such a key leaves below the version is an absolute path."""
        platform = make_platform()
        store = platform.store()
        ref = store.put_model(make_version(), platform.sign)
        outside = tmp_path / "outside"
        names = ["extra.bin", f"/{outside}/.bashrc", "a//b", "model.safetensors/c"]
        for name in names:
            self.write(platform, f"{model_key(ref.sha256)}/{name}", b"owned")
        before = everything(tmp_path, but=tmp_path / "cache")
        folder = store.model_folder(ref.sha256)
        assert list_files(folder).keys() == {*store.manifest(ref).files, MANIFEST, SIGNATURE}
        assert everything(tmp_path, but=tmp_path / "cache") == before
        with pytest.raises(IntegrityError, match=r"that its manifest does not list: .*extra\.bin") as caught:
            store.require_nothing_else(ref)
        assert caught.value.where == f"{store.objects.url}/{model_key(ref.sha256)}"
        self.write(platform, "aliases/models/chatbot//2.json", b"{}")
        with pytest.raises(IntegrityError, match="has an empty part"):
            store.versions()

    def test_a_rejected_version_is_not_promoted_before_it_is_cleared(
        self, make_platform: MakePlatform, make_version: MakeVersion, tmp_path: Path
    ) -> None:
        platform = make_platform()
        store = platform.store()
        ref = store.put_model(make_version(), platform.sign)
        store.append(rejection_log(ref.sha256), {"action": "rejected", "why": "5xx alarm", "when": "now"})
        path = tmp_path / "Pulumi.dev.yaml"
        path.write_text(f"config:\n  llmops:target: {self.target}\n")
        assert store.rejections() == {ref.sha256: "5xx alarm"}
        with pytest.raises(KitError, match="was rejected: 5xx alarm") as caught:
            promote(platform, StackFile(path), "chatbot@1")
        assert "llmops models clear chatbot@1" in caught.value.fix
        store.clear(ref, "a full disk")
        assert store.rejections() == {}
        assert promote(platform, StackFile(path), "chatbot@1").after == ref
        assert [e["action"] for e in store.read_log(rejection_log(ref.sha256))] == ["rejected", "cleared"]

    @pytest.fixture
    def made(self, make_platform: MakePlatform, tmp_path: Path) -> tuple[Any, RemoteVersion]:
        """A stack, and a version that a job left in its place of runs: 4 MB that can't be compressed."""
        platform, folder = make_platform(), tmp_path / "output"
        write_version(folder, "chatbot", random.Random(1).randbytes(_WEIGHTS // 2).hex(), passed=True, run="")
        work = self.work(platform)
        for name, path in list_files(folder).items():
            work._upload(f"{_OUTPUT}/{name}", path)
        return platform, RemoteVersion(work, _OUTPUT)

    def test_weights_are_copied_inside_the_cloud_and_read_at_most_once(
        self, made: tuple[Any, RemoteVersion], make_platform: MakePlatform, tmp_path: Path
    ) -> None:
        platform, version = made
        other, said = make_platform("prod"), list[str]()
        other.store().versions()  # its clients are made now
        path = tmp_path / "Pulumi.dev.yaml"
        path.write_text(f"config:\n  llmops:target: {self.target}\n")
        once = 0 if self.keeps_sums else _WEIGHTS
        with received() as counter:
            ref = platform.store().put_model(version, platform.sign, say=said.append)
            assert once <= counter.taken() < once + _OVERHEAD
            promote(platform, StackFile(path), "chatbot@1", say=said.append)
            assert counter.taken() < _OVERHEAD
            there = platform.store().version(ref)
            assert other.store().put_model(there, other.sign, ref.sha256, said.append).sha256 == ref.sha256
            assert once <= counter.taken() < once + _OVERHEAD
        assert "inside the cloud" in said[0]
        assert ("the store keeps" if self.keeps_sums else "reading 4.2 MB to verify") in said[1]
        folder = other.store().model_folder(ref.sha256)
        assert open_verified(folder, other.outputs.signing.public_key, ref.sha256).name == "chatbot"

    @pytest.mark.vulnerability(5)
    def test_vulnerability_5_weights_that_are_not_the_manifests_are_not_signed(
        self, made: tuple[Any, RemoteVersion], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """In the source; and in the store, by a write between the copy and its check, and by one after it."""
        platform, version = made
        store, signed = platform.store(), list[Path]()
        objects: Any = store.objects
        name, content = "model.safetensors", version.objects.head(f"{_OUTPUT}/model.safetensors", _WEIGHTS)
        assert content
        swapped, copy = b"other" + content[5:], objects._copy

        def collect() -> Any:
            return store.put_model(version, lambda folder: signed.append(folder) or platform.sign(folder))

        def copy_and_swap(key: str, *more: Any) -> None:
            copy(key, *more)
            if key.endswith(name):
                self.write(platform, key, swapped)

        version.objects.put(f"{_OUTPUT}/{name}", swapped)
        with pytest.raises(IntegrityError, match="was changed: "):
            collect()
        version.objects.put(f"{_OUTPUT}/{name}", content)
        monkeypatch.setattr(objects, "_copy", copy_and_swap)
        with pytest.raises(IntegrityError, match="was changed: ") as caught:
            collect()
        assert caught.value.where.startswith(f"{platform.outputs.store.url}/models/")
        assert (signed, store.versions()) == ([], [])
        monkeypatch.setattr(objects, "_copy", copy)
        ref = collect()
        public_key = platform.outputs.signing.public_key
        assert store.verify_model(ref, public_key, print).name == "chatbot"
        self.write(platform, f"{model_key(ref.sha256)}/{name}", swapped)
        with pytest.raises(IntegrityError, match="was changed: "):
            store.verify_model(ref, public_key, print)

    def test_a_copy_that_was_interrupted_is_gone_on_with(
        self, made: tuple[Any, RemoteVersion], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        platform, version = made
        store, copied = platform.store(), list[str]()
        objects: Any = store.objects
        copy = objects._copy

        def killed(key: str, *more: Any) -> None:
            if key.endswith(".xml"):
                raise KeyboardInterrupt
            copied.append(key)
            copy(key, *more)

        monkeypatch.setattr(objects, "_copy", killed)
        with pytest.raises(KeyboardInterrupt):
            store.put_model(version, platform.sign)
        assert store.versions() == []
        monkeypatch.setattr(objects, "_copy", lambda key, *more: copied.append(key) or copy(key, *more))
        assert store.put_model(version, platform.sign).alias == "chatbot@1"
        assert [key.rpartition("/")[2] for key in copied] == ["model.safetensors", "openvino_model.xml"]
