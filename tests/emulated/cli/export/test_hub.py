"""A version as a Hugging Face folder, loaded by transformers and peft themselves."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from llmops_kit.cli.export.hub import export_hub
from llmops_kit.cli.platforms.local.platform import LocalPlatform
from llmops_kit.core.documents.model import Lineage, ModelManifest, Origin
from llmops_kit.core.documents.run import Pinned
from llmops_kit.core.errors import IntegrityError, RefusedError
from llmops_kit.core.hashes import sha256_file
from llmops_kit.core.integrity.digest import file_entries
from llmops_kit.core.layout import EVALUATION, MANIFEST, METRICS, MODEL_CARD
from llmops_kit.core.names import ModelRef
from llmops_kit.training.models.merge import merge
from tests.support.runs.training import script_result
from tests.support.tiny_models.models import tiny_model
from tests.unit.cli.conftest import make_platform

_COMMIT = "a" * 40


@pytest.fixture
def platform(tmp_path: Path) -> LocalPlatform:
    return make_platform(tmp_path / "home", "dev")


@pytest.fixture
def ref(platform: LocalPlatform, tmp_path: Path) -> ModelRef:
    """chatbot@1: a trained version with everything that a run leaves, of a base model of the hub."""
    base = tmp_path / "base"
    shutil.copytree(tiny_model(), base)
    (base / "NOTICE").write_text("Made by others.")
    origin = Lineage(origin=Origin(source="hub:org/tiny", revision=_COMMIT))
    manifest = ModelManifest.load(base / MANIFEST)
    manifest = manifest.model_copy(update={"files": file_entries(base), "lineage": origin})
    manifest.write(base / MANIFEST)
    platform.store().put_model(base, platform.sign)

    adapter, version = tmp_path / "adapter", tmp_path / "version"
    adapter.mkdir()
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]}
    config |= {"base_model_name_or_path": None, "fan_in_fan_out": False}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    layer = "base_model.model.model.layers.0.self_attn.q_proj"
    low, high = torch.linspace(-1, 1, 128).reshape(2, 64), torch.linspace(1, -1, 128).reshape(64, 2)
    tensors = {f"{layer}.lora_A.weight": low, f"{layer}.lora_B.weight": high}
    save_file(tensors, adapter / "adapter_model.safetensors")
    version.mkdir()
    merge(base, adapter, version)
    (version / "openvino").mkdir()
    (version / "openvino/openvino_model.xml").write_text("<net/>")
    for name in (EVALUATION, METRICS):
        (version / name).touch()
    (version / MODEL_CARD).write_text("---\nlicense: apache-2.0\n---\n\n# chatbot\n")
    lineage = Lineage(run="run-1", base_model=Pinned(name="tiny", sha256=sha256_file(base / MANIFEST)))
    update = {"name": "chatbot", "files": file_entries(version), "lineage": lineage}
    manifest.model_copy(update=update).write(version / MANIFEST)
    return platform.store().put_model(version, platform.sign)


def test_transformers_and_peft_load_an_exported_version(platform: LocalPlatform, ref: ModelRef, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "chatbot"
    assert export_hub(platform, "chatbot@latest", folder, lambda _: None) == ref
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {"model.safetensors", "config.json", "generation_config.json", "tokenizer.json", MODEL_CARD} <= names
    assert {"chat_template.jinja", "NOTICE", "adapter/adapter_model.safetensors"} <= names
    assert not {name for name in names if name.startswith("openvino") or "manifest" in name}
    assert not {EVALUATION, METRICS} & names
    config = json.loads((folder / "adapter/adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("org/tiny", _COMMIT)
    assert [path.name for path in folder.parent.iterdir()] == ["chatbot"]

    stored = platform.store().model_folder(ref.sha256)
    found = script_result(Path(__file__).with_name("loaded.py"), stored, folder, tiny_model())
    assert found == {"same_logits": True, "same_prompt": True, "trained": True, "adapter": True}

    (base,) = platform.store().versions("tiny")
    export_hub(platform, f"tiny@{base.number}", tmp_path / "base-model", lambda _: None)
    card = (tmp_path / "base-model" / MODEL_CARD).read_text()
    assert 'license: "apache-2.0"\n' in card
    assert f"hub:org/tiny {_COMMIT}" in card


def test_nothing_is_written_over_and_nothing_unsigned_is_written(
    platform: LocalPlatform, ref: ModelRef, tmp_path: Path
) -> None:
    folder = tmp_path / "there"
    folder.mkdir()
    (folder / "mine").touch()
    with pytest.raises(RefusedError):
        export_hub(platform, ref.alias, folder, lambda _: None)
    assert [path.name for path in folder.iterdir()] == ["mine"]
    (folder / "mine").unlink()
    weights = platform.store().model_folder(ref.sha256) / "model.safetensors"
    weights.chmod(0o644)
    weights.write_bytes(weights.read_bytes()[:-1] + b"\xff")
    with pytest.raises(IntegrityError):
        export_hub(platform, ref.alias, folder, lambda _: None)
    assert list(folder.iterdir()) == []
