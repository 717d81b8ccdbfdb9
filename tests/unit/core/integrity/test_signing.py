"""A model version is what was signed, to the byte; openssl agrees with the signature."""

import base64
import json
import os
import pickle
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from llmops_kit.core.documents.model import ModelManifest
from llmops_kit.core.errors import DataError, IntegrityError, KitError, SignatureError, require_packages
from llmops_kit.core.integrity import signing
from llmops_kit.core.integrity.digest import file_entries, list_files, tree_hash
from llmops_kit.core.layout import MANIFEST, SIGNATURE, TrainingFolders, cache_dir, serving_model_folder
from llmops_kit.core.names import ModelRef, parse_alias, parse_promoted
from tests.support.checkout import EXAMPLES, IMPORT_PATH
from tests.support.tiny_models.versions import open_verified

EXAMPLE = EXAMPLES / "model-2.json"


@pytest.fixture
def key(tmp_path: Path) -> Path:
    signing.make_key(tmp_path / "keys" / "signing.key")
    return tmp_path / "keys" / "signing.key"


@pytest.fixture
def version(tmp_path: Path, key: Path) -> Path:
    folder = tmp_path / "version"
    (folder / "openvino").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * 64)
    (folder / "openvino" / "model.bin").write_bytes(b"weights")
    fields = json.loads(EXAMPLE.read_text()) | {"files": {n: e.model_dump() for n, e in file_entries(folder).items()}}
    ModelManifest.model_validate(fields).write(folder / MANIFEST)
    signing.sign(folder, key)
    return folder


def test_a_signed_version_verifies(version: Path, key: Path) -> None:
    identity = signing.sign(version, key)
    manifest = open_verified(version, signing.public_key_of(key), identity)
    assert set(manifest.files) == {"config.json", "model.safetensors", "openvino/model.bin"}


def _flip(folder: Path) -> Path:
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[777] ^= 1
    path.write_bytes(data)
    return path


def _add(folder: Path) -> Path:
    path = folder / "openvino" / "extra.py"
    path.write_text("print()")
    return path


def _remove(folder: Path) -> Path:
    (folder / "config.json").unlink()
    return folder / "config.json"


def _rename(folder: Path) -> Path:
    shutil.move(folder / "config.json", folder / "config2.json")
    return folder / "config.json"


def _truncate(folder: Path) -> Path:
    path = folder / "openvino" / "model.bin"
    path.write_bytes(b"weight")
    return path


def _link(folder: Path) -> Path:
    path = folder / "config.json"
    path.rename(folder.parent / "elsewhere.json")
    path.symlink_to(folder.parent / "elsewhere.json")
    return path


@pytest.mark.parametrize("damage", [_flip, _add, _remove, _rename, _truncate, _link])
def test_a_damaged_version_is_refused_naming_the_file(version: Path, key: Path, damage) -> None:
    path = damage(version)
    with pytest.raises(IntegrityError) as e:
        open_verified(version, signing.public_key_of(key))
    assert str(path) in str(e.value)
    assert e.value.fix


def test_another_key_is_refused(version: Path, tmp_path: Path) -> None:
    other = signing.make_key(tmp_path / "other.key")
    with pytest.raises(SignatureError, match="does not match the manifest"):
        open_verified(version, other)


def test_a_changed_manifest_is_refused(version: Path, key: Path) -> None:
    manifest = version / MANIFEST
    manifest.write_text(manifest.read_text().replace('"passed": true', '"passed": null'))
    with pytest.raises(SignatureError):
        open_verified(version, signing.public_key_of(key))


def test_another_version_than_promoted_is_refused(version: Path, key: Path) -> None:
    with pytest.raises(IntegrityError, match="was promoted"):
        open_verified(version, signing.public_key_of(key), "0" * 64)


@pytest.mark.parametrize("content", [None, "not base64!", base64.b64encode(b"nonsense").decode()])
def test_a_missing_or_broken_signature_is_refused(version: Path, key: Path, content: str | None) -> None:
    if content is None:
        (version / SIGNATURE).unlink()
    else:
        (version / SIGNATURE).write_text(content)
    with pytest.raises(SignatureError):
        open_verified(version, signing.public_key_of(key))


def test_openssl_verifies_the_signature(version: Path, key: Path, tmp_path: Path) -> None:
    public, signature, signed = (tmp_path / name for name in ("pub.pem", "sig.der", "signed"))
    public.write_text(signing.public_key_of(key))
    envelope = json.loads((version / SIGNATURE).read_text())
    payload = base64.b64decode(envelope["payload"])
    signature.write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
    signed.write_bytes(b"DSSEv1 %d %s %d %s" % (28, b"application/vnd.in-toto+json", len(payload), payload))
    command = ["openssl", "dgst", "-sha256", "-verify", str(public), "-signature", str(signature)]
    result = subprocess.run([*command, str(signed)], capture_output=True, text=True, check=False)
    assert result.stdout.strip() == "Verified OK"


def test_the_private_key_is_the_owners_alone_and_kept(key: Path) -> None:
    before = key.read_bytes()
    signing.make_key(key)
    assert key.read_bytes() == before
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_tree_hash_depends_on_names_and_contents_only(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    (tmp_path / "b").write_text("2")
    files = list_files(tmp_path)
    before = tree_hash(files)
    os.utime(tmp_path / "a", (0, 0))
    assert tree_hash(dict(reversed(files.items()))) == before
    (tmp_path / "a").write_text("2")
    assert tree_hash(files) != before


def test_folders_follow_the_platforms_variables(tmp_path: Path) -> None:
    assert str(TrainingFolders.of({}).model) == "/opt/ml/model"
    assert TrainingFolders.of({"LLMOPS_ROOT": str(tmp_path)}).spec == tmp_path / "opt/ml/input/data/spec/run.json"
    assert serving_model_folder({"LLMOPS_ROOT": str(tmp_path)}) == tmp_path / "opt/ml/model"
    assert serving_model_folder({"AZUREML_MODEL_DIR": "/var/m/1", "LLMOPS_ROOT": "/x"}) == Path("/var/m/1")
    (tmp_path / "chat/1/abc").mkdir(parents=True)
    (tmp_path / "chat/1/abc" / MANIFEST).touch()
    assert serving_model_folder({"AZUREML_MODEL_DIR": str(tmp_path / "chat/1")}) == tmp_path / "chat/1/abc"
    assert cache_dir({"LLMOPS_CACHE": "/c"}) == Path("/c")
    assert cache_dir({"XDG_CACHE_HOME": "/x", "HOME": "/h"}) == Path("/x/llmops")
    assert cache_dir({"HOME": "/h"}) == Path("/h/.cache/llmops")


def test_references() -> None:
    ref = ModelRef("chatbot", 3, "ab" * 32)
    assert parse_promoted(str(ref)) == ref
    assert parse_alias("chatbot@3") == ("chatbot", 3)
    assert parse_alias("chatbot@latest") == ("chatbot", None)
    for wrong in ("chatbot", "chatbot@0", "chatbot@-1", "../chatbot@1", "chatbot@1@sha256:xyz"):
        with pytest.raises(KitError):
            parse_alias(wrong)
        with pytest.raises(KitError):
            parse_promoted(wrong)


def test_errors_cross_a_process_whole() -> None:
    error = pickle.loads(pickle.dumps(DataError("is empty", where="a.jsonl:3", fix="remove it")))
    assert (type(error), str(error)) == (DataError, "a.jsonl:3: is empty\n  fix: remove it")


def test_a_missing_extra_is_named_before_it_is_needed() -> None:
    require_packages("training", "json")
    with pytest.raises(KitError) as e:
        require_packages("training", "json", "no_such_package")
    assert str(e.value).startswith("extra training: the package no_such_package is not installed")
    assert "llmops-kit[training]" in e.value.fix


@pytest.mark.parametrize("command", [["llmops_kit.training", "train"], ["llmops_kit.serving", "serve"]])
def test_an_image_s_program_without_its_extra_says_so(command: list[str], tmp_path: Path, key: Path) -> None:
    without = "import sys; sys.modules |= dict.fromkeys(['torch', 'uvicorn']);"
    run = "import runpy; sys.argv = sys.argv[1:]; runpy.run_module(sys.argv[0], run_name='__main__')"
    (tmp_path / "api.key").write_text("a-key-of-this-test-only\n")
    (tmp_path / "signing.pub").write_text(signing.public_key_of(key))
    environ = {
        "LLMOPS_API_KEY_FILE": str(tmp_path / "api.key"),
        "LLMOPS_PUBLIC_KEY_FILE": str(tmp_path / "signing.pub"),
    }
    done = subprocess.run(
        [sys.executable, "-c", without + run, *command],
        env=environ | {"PYTHONPATH": IMPORT_PATH, "LLMOPS_ROOT": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    text = done.stdout + done.stderr
    assert done.returncode == 1, text
    assert f"extra {command[0].removeprefix('llmops_kit.')}" in text
    assert "Traceback" not in text
