"""The local providers against real folders: idempotent, careful with data, and plain in their words."""

import stat
import sys
from pathlib import Path

import dill
import pytest

from llmops_kit.core.errors import KitError, SettingError
from llmops_kit.core.integrity.envelopes import read_keys
from llmops_kit.core.integrity.signing import public_key_of
from llmops_kit.infra.targets import dynamic as provider
from llmops_kit.infra.targets.dynamic import KitProvider, Properties
from llmops_kit.infra.targets.local.keys import key_files
from llmops_kit.infra.targets.local.providers import endpoints, image, signing_key, store, training_place
from llmops_kit.local_runtime.model_endpoint import usage_file
from llmops_kit.settings.stack_settings import ServerLimits

PROVIDERS = [
    store.StoreProvider,
    signing_key.SigningKeyProvider,
    image.ImageProvider,
    training_place.TrainingPlaceProvider,
    endpoints.HostingProvider,
    endpoints.EndpointProvider,
]


def _store(folder: Path, project: Path, stack: str = "demo") -> Properties:
    return {"folder": str(folder / "store"), "stack": stack, "project": str(project)}


def test_a_store_is_made_once_and_taken_over_afterwards(tmp_path: Path) -> None:
    made = store.StoreProvider().create(_store(tmp_path, tmp_path))
    (tmp_path / "store/models").mkdir()
    (tmp_path / "store/models/kept").touch()
    again = store.StoreProvider().create(_store(tmp_path, tmp_path))
    assert (made.id, made.outs) == (again.id, again.outs)
    assert again.outs is not None
    assert again.outs["url"] == (tmp_path / "store").as_uri()
    assert (tmp_path / "store/models/kept").exists()


def test_a_store_of_another_project_or_stack_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    store.StoreProvider().create(_store(tmp_path, other))
    for props in (_store(tmp_path, tmp_path / "mine"), _store(tmp_path, other, "prod")):
        with pytest.raises(KitError, match=r"belongs to stack demo") as refused:
            store.StoreProvider().create(props)
        assert "local_home" in refused.value.fix
    other.rmdir()  # it was moved: its store comes along
    assert store.StoreProvider().create(_store(tmp_path, tmp_path / "mine"))


def test_data_is_never_left_behind(tmp_path: Path) -> None:
    old, new = _store(tmp_path / "old", tmp_path), _store(tmp_path / "new", tmp_path)
    store.StoreProvider().create(old)
    with pytest.raises(KitError, match="but local_home now selects") as refused:
        store.StoreProvider().update("", old, new)
    assert "mv " in refused.value.fix
    assert not (tmp_path / "new").exists()
    (tmp_path / "old").rename(tmp_path / "new")
    assert store.StoreProvider().update("", old, new).outs


def test_only_an_empty_store_is_removed(tmp_path: Path) -> None:
    props = _store(tmp_path, tmp_path)
    store.StoreProvider().create(props)
    version = tmp_path / "store/datasets/0123"
    version.mkdir(parents=True)
    with pytest.raises(KitError, match="not empty"):
        store.StoreProvider().delete("", props)
    assert version.exists()
    version.rmdir()
    store.StoreProvider().delete("", props)
    assert not (tmp_path / "store").exists()


def test_a_signing_key_is_made_once_and_only_its_public_half_told(tmp_path: Path) -> None:
    props = {"private_key": str(tmp_path / "keys/signing.key"), "public_key_file": str(tmp_path / "keys/signing.pub")}
    first = signing_key.SigningKeyProvider().create(props).outs
    assert first == signing_key.SigningKeyProvider().create(props).outs
    assert first is not None
    assert first["public_key"] == (tmp_path / "keys/signing.pub").read_text()
    assert stat.S_IMODE((tmp_path / "keys/signing.key").stat().st_mode) == 0o600
    assert "PRIVATE" not in str(first)
    signing_key.SigningKeyProvider().delete("", props)
    assert signing_key.SigningKeyProvider().read("id", props).id == ""


def test_a_second_signing_key_is_made_beside_the_first_and_both_are_trusted(tmp_path: Path) -> None:
    provider, keys = signing_key.SigningKeyProvider(), tmp_path / "keys"
    one = {"private_key": str(keys / "signing.key"), "public_key_file": str(keys / "signing.pub")}
    first = provider.create(one).outs
    assert first is not None
    two = one | {"private_key": str(keys / "signing-2.key"), "older_keys": [str(keys / "signing.key")]}
    both = provider.update("id", one, two).outs
    assert both is not None
    assert both["public_key"] == public_key_of(keys / "signing-2.key") + first["public_key"]
    assert (keys / "signing.pub").read_text() == both["public_key"]
    (former,) = read_keys(first["public_key"], "first")
    newest = provider.update("id", two, two | {"revoked": [former]}).outs
    assert newest is not None
    assert newest["public_key"] == public_key_of(keys / "signing-2.key")
    with pytest.raises(KitError):
        provider.update("id", two, two | {"older_keys": [str(keys / "chat.key")]})
    provider.delete("", two)
    assert list(keys.iterdir()) == []


def test_a_place_for_runs_keeps_them(tmp_path: Path) -> None:
    props = {"runs": str(tmp_path / "runs"), "image": "process:training@sha256:0"}
    training_place.TrainingPlaceProvider().create(props)
    (tmp_path / "runs/a/log.txt").parent.mkdir()
    (tmp_path / "runs/a/log.txt").touch()
    training_place.TrainingPlaceProvider().delete("", props)
    assert (tmp_path / "runs/a/log.txt").exists()


@pytest.mark.parametrize("kind", PROVIDERS)
def test_providers_are_pickled_by_reference_and_readable_in_the_state(kind: type[KitProvider]) -> None:
    text = dill.dumps(kind(), recurse=True)
    assert len(text) < 200, "by value, it would carry code that a newer kit can't replace"
    assert kind.serialize_as_secret_always is False


def test_a_difference_in_any_input_is_a_change_and_nothing_replaces() -> None:
    old = {"model": "a@1", "url": "http://127.0.0.1:1", "__provider": "x"}
    same = KitProvider().diff("", old, {"model": "a@1", "__provider": "y"})
    other = KitProvider().diff("", old, {"model": "a@2", "__provider": "x"})
    assert (same.changes, other.changes) == (False, True)
    assert not other.replaces


def test_a_mistake_is_told_without_its_traceback() -> None:
    def told(error: Exception) -> str:
        try:
            raise error
        except Exception:
            return provider._format_current()

    assert told(SettingError("is taken", where="port 80", fix="take another")).startswith("port 80: is taken\n")
    assert "Traceback" in told(RuntimeError("a defect of the kit"))


def test_provider_modules_import_nothing_that_only_work_needs() -> None:
    """Each `pulumi preview` starts the providers' process: what it imports is waited for."""
    import subprocess

    names = ", ".join(
        f"llmops_kit.infra.targets.local.providers.{m}"
        for m in ("store", "signing_key", "image", "training_place", "endpoints")
    )
    code = f"import sys, {names}; print(*{{m.partition('.')[0] for m in sys.modules}})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"pydantic", "ruamel", "hosting", "supervisor", "cryptography"} & set(loaded)


def test_files_of_keys_are_mounted_by_their_folders_and_wrong_ones_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    keys, scrape = tmp_path / "keys/api.json", tmp_path / "keys/metrics.key"
    keys.write_text('{"schema": "keys/1", "keys": []}')
    scrape.write_text("a-key-for-those-who-scrape\n")
    limits = ServerLimits(api_keys_file="keys/api.json", metrics_key_file="keys/metrics.key")
    files = key_files(tmp_path, "chat", limits)
    key, folder = tmp_path / "api.key", tmp_path / "model"
    key.write_text("a-key-of-16-characters")
    given = {"endpoint": "chat", "folder": str(folder), "key_file": str(key), "public_key_file": str(key)}
    given |= {"home": str(tmp_path / "hosting")}
    given |= {"model": "chatbot@1", "sha256": "a" * 64, "image": "process:serving@sha256:" + "0" * 64}
    given |= {"precision": "auto", "engine": "auto", "instances": 1, "port": 0, "rollout": {"strategy": "all_at_once"}}
    given |= {"limits": {"LLMOPS_MAX_QUEUE": "8"}, "key_files": files}
    assert "LLMOPS_PREFIX_CACHE" not in endpoints._spec(given | {"prefix_cache": False}).environ
    spec = endpoints._spec(given | {"prefix_cache": True})
    assert (spec.environ["LLMOPS_MAX_QUEUE"], spec.environ["LLMOPS_PREFIX_CACHE"]) == ("8", "true")
    for variable, path in (("LLMOPS_API_KEYS_FILE", keys), ("LLMOPS_METRICS_KEY_FILE", scrape)):
        mounted, _, name = spec.environ[variable].rpartition("/")
        assert Path(spec.folders[mounted]) / name == path
    assert spec.keys_file == str(keys)
    assert usage_file(spec) == tmp_path / "hosting/endpoints/chat/usage/usage.sqlite"
    issued = endpoints._spec(given | {"prefix_cache": False, "key_files": {}})
    assert issued.keys_file == str(tmp_path / "api/api_keys.json"), "without a file of the settings, the kit's own"
    scrape.write_text("short")
    (tmp_path / "api.json").write_text(keys.read_text())
    keys.write_text('{"schema": "keys/1", "ke')
    for field, value, word in (
        ("api_keys_file", "keys/api.json", "is not JSON"),
        ("api_keys_file", "keys/none.json", "can't be read"),
        ("api_keys_file", "api.json", "holds the project"),
        ("metrics_key_file", "keys/metrics.key", "no usable key"),
    ):
        with pytest.raises(SettingError, match=word) as refused:
            key_files(tmp_path, "chat", ServerLimits.model_validate({field: value}))
        assert f"endpoints.chat.limits.{field}" in refused.value.where
        assert refused.value.fix
