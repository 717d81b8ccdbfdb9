"""Which engine serves, by the machine's GPUs and what is installed; and what vLLM's process is started with."""

import json
from dataclasses import replace
from importlib.machinery import ModuleSpec
from itertools import pairwise
from pathlib import Path

import pytest

from llmops_kit.core.engines.engine_settings import EngineSettings
from llmops_kit.core.errors import ServingError
from llmops_kit.core.models import gpus
from llmops_kit.serving import engine_choice
from llmops_kit.serving.engine_choice import choose_engine, require_prefix_cache
from tests.support.checkout import CHECKOUT

BOTH, WITHOUT = ("openvino", "transformers"), ("transformers",)


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine whose device files and programs are the test's."""
    monkeypatch.setattr(gpus, "_DEVICE_FILES", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def install(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    monkeypatch.setattr(engine_choice, "find_spec", lambda name: ModuleSpec(name, None) if name in packages else None)


@pytest.mark.parametrize(
    ("gpu", "packages", "forms", "engine"),
    [
        (True, ("vllm", "torch"), BOTH, "vllm"),
        (True, ("openvino_genai", "torch"), BOTH, "transformers"),
        (True, ("openvino_genai",), BOTH, "openvino"),
        (False, ("openvino_genai", "torch"), BOTH, "openvino"),
        (False, ("openvino_genai", "torch"), WITHOUT, "transformers"),
        (False, ("vllm", "torch"), WITHOUT, "transformers"),
    ],
)
def test_auto_chooses_by_hardware_and_says_why(
    gpu: bool, packages: tuple[str, ...], forms: tuple[str, ...], engine: str, machine: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    if gpu:
        (machine / "nvidia0").touch()
    install(monkeypatch, *packages)
    found = choose_engine("auto", forms, {})
    assert found.engine == engine
    assert found.why.startswith(f"a GPU is here ({machine / 'nvidia0'})" if gpu else "no GPU is here")
    hidden = choose_engine("auto", forms, {"CUDA_VISIBLE_DEVICES": "-1"}) if "torch" in packages else None
    assert not hidden or hidden.engine != "vllm", "a GPU that is hidden is none"


def test_an_image_that_can_not_run_a_version_says_which_could(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, "openvino_genai")
    with pytest.raises(ServingError, match="the version has no files for openvino; torch is not installed") as refused:
        choose_engine("auto", WITHOUT, {})
    assert "`llmops models convert NAME@N`" in refused.value.fix
    assert "serving-torch" in refused.value.fix
    assert choose_engine("vllm", WITHOUT, {}).why == "the setting `engine` names vllm"


def test_a_prefix_cache_is_refused_by_name_where_there_is_none() -> None:
    require_prefix_cache("openvino", embedding=False)
    with pytest.raises(ServingError, match="an embedding model keeps no prefixes"):
        require_prefix_cache("openvino", embedding=True)
    with pytest.raises(ServingError, match="the engine transformers keeps no prefixes") as refused:
        require_prefix_cache("transformers", embedding=False)
    assert refused.value.where == "LLMOPS_PREFIX_CACHE"
    assert "`prefix_cache`" in refused.value.fix


def test_vllm_is_started_with_the_servers_limits_and_no_code(tmp_path: Path) -> None:
    from llmops_kit.core.documents.model import EmbeddingForm, Golden, Lineage, Message, ModelManifest
    from llmops_kit.core.limits import RequestLimits
    from llmops_kit.serving.server_settings import ServerSettings
    from llmops_kit.serving.vllm_server import command

    manifest = ModelManifest.new(
        name="chatbot", created="2026-11-25T12:00:00Z", engines=["transformers"], dtype="BF16", files={},
        lineage=Lineage(), golden=[Golden(messages=[Message(role="user", content="hi")], expect=[])],
    )  # fmt: skip
    limits = RequestLimits(max_running=4, max_queue=2)
    settings = ServerSettings(
        model=tmp_path, public_key="", name="chatbot@3", engine_settings=EngineSettings(precision="f32"), limits=limits
    )
    words = command(settings, manifest, tmp_path, "{{ '<tool_call>' }}")
    options = dict(pairwise(words))
    assert options["--middleware"] == "llmops_kit.serving.front.Front"
    assert options["--served-model-name"] == "chatbot@3"
    assert (options["--max-num-seqs"], options["--max-num-queued-reqs"]) == ("4", "6")
    assert (options["--shutdown-timeout"], options["--load-format"]) == ("25", "safetensors")
    assert (options["--dtype"], options["--tool-call-parser"]) == ("float32", "hermes")
    assert json.loads(options["--override-generation-config"]) == {"temperature": 0.0}
    assert {"--no-trust-remote-code", "--disable-fastapi-docs", "--enable-auto-tool-choice"} <= set(words)
    assert "--exclude-tools-when-tool-choice-none" in words
    assert "--enforce-eager" not in words
    assert "--no-enable-prefix-caching" in words
    shared = command(
        replace(settings, engine_settings=EngineSettings(precision="f32", prefix_cache=True)), manifest, tmp_path, ""
    )
    assert "--no-enable-prefix-caching" not in shared
    assert dict(pairwise(shared))["--prefix-caching-hash-algo"] == "sha256"
    assert options["--tensor-parallel-size"] == "1"
    two = dict(pairwise(command(settings, manifest, tmp_path, "", gpus=2)))
    assert two["--tensor-parallel-size"] == "2"
    assert "--enable-auto-tool-choice" not in command(settings, manifest, tmp_path, "no tools")
    form = EmbeddingForm(pooling="mean", normalize=True, dimensions=32, max_tokens=16)
    encoder = command(settings, manifest.model_copy(update={"embedding": form}), tmp_path, "{{ '<tool_call>' }}")
    pooled = dict(pairwise(encoder))
    assert json.loads(pooled["--pooler-config"]) == {"seq_pooling_type": "MEAN", "use_activation": True}
    assert (pooled["--runner"], pooled["--max-model-len"]) == ("pooling", "16")
    assert "--enable-auto-tool-choice" not in encoder


def test_vllm_sees_nothing_that_names_code_routes_or_servers(tmp_path: Path) -> None:
    from llmops_kit.serving.vllm_server import environment

    given = {
        "PATH": "/bin", "LLMOPS_AUTH": "key", "CUDA_VISIBLE_DEVICES": "1", "SAGEMAKER_MODEL_PATH": "/opt/ml/model",
        "VLLM_SERVER_DEV_MODE": "1", "VLLM_API_KEY": "k", "VLLM_PLUGINS": "all", "CUSTOM_FASTAPI_PING_HANDLER": "m:f",
        "CUSTOM_SCRIPT_FILENAME": "x.py", "SAGEMAKER_ENABLE_STATEFUL_SESSIONS": "true", "HF_ENDPOINT": "http://x",
        "HTTPS_PROXY": "http://x",
    }  # fmt: skip
    seen = environment(given, 7, tmp_path)
    assert set(given) & set(seen) == {
        "PATH", "LLMOPS_AUTH", "CUDA_VISIBLE_DEVICES", "SAGEMAKER_MODEL_PATH", "VLLM_PLUGINS",
    }  # fmt: skip
    assert seen["SAGEMAKER_MODEL_PATH"] == str(tmp_path)
    assert (seen["VLLM_PLUGINS"], seen["VLLM_NO_USAGE_STATS"], seen["DO_NOT_TRACK"]) == ("", "1", "1")
    assert (seen["HF_HUB_OFFLINE"], seen["LLMOPS_PHASE_FD"]) == ("1", "7")


def test_vllm_takes_as_many_gpus_as_the_weights_need_and_explains_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from llmops_kit.core.models.gpus import InstalledGpu, installed_gpus
    from llmops_kit.serving.__main__ import _explain
    from llmops_kit.serving.engine_choice import EngineChoice
    from llmops_kit.serving.engines.vllm_gpus import choose_gpus
    from llmops_kit.serving.server_settings import ServerSettings

    (tmp_path / "bin").mkdir(exist_ok=True)
    program, config = tmp_path / "bin/nvidia-smi", CHECKOUT / "tests/data/llama-3.1-8b/config.json"
    assert installed_gpus({}) == []
    program.write_text("#!/bin/sh\nfor i in 1 2 3 4; do echo 'NVIDIA A10G, 23028'; done\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    a10g = InstalledGpu("NVIDIA A10G", 23_028 << 20)
    assert installed_gpus({}) == [a10g] * 4
    assert installed_gpus({"CUDA_VISIBLE_DEVICES": "1,3"}) == [a10g] * 2
    assert installed_gpus({"CUDA_VISIBLE_DEVICES": "GPU-8932f937"}) == [a10g]
    assert installed_gpus({"CUDA_VISIBLE_DEVICES": ""}) == []
    needs_two = choose_gpus(config.read_bytes(), 32_000_000_000, "auto", {})
    assert (needs_two.gpus, "each of 2 NVIDIA A10G" in needs_two.why) == (2, True)
    assert choose_gpus(config.read_bytes(), 32_000_000_000, "auto", {"CUDA_VISIBLE_DEVICES": "0"}).gpus == 1
    assert choose_gpus(b'{"mod', 1, "auto", {}).gpus == 1
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_bytes(config.read_bytes())
    with (folder / "model.safetensors").open("wb") as weights:
        weights.truncate(32_000_000_000)  # sparse: it takes no disk
    _explain(ServerSettings(folder, ""), EngineChoice("vllm", ""))
    assert "GPUs 2: fits: vLLM takes 20.2 GiB of each of 2 NVIDIA A10G" in capsys.readouterr().err
