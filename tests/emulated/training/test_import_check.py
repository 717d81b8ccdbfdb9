"""What an import would give, by a model's small files; its weights are empty files."""

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig
from trl import chat_template_utils as trl_templates

from llmops_kit.core.documents.estimate import MachineMemory
from llmops_kit.core.documents.model_check import CheckRequest
from tests.support.runs.training import PROGRAMS, kept_script_result
from tests.support.tiny_models.families import SIZES

MACHINES = [MachineMemory(name=f"{size} MB", gpus=1, memory=size * 10**6, bf16=True) for size in (1, 24_000)]
TEMPLATE = (trl_templates._CHAT_TEMPLATES_DIR / "llama3_1.jinja").read_text()
REFUSED = {
    "pickles": "can run code",
    "code": "auto_map",
    "images": "Gemma3ForConditionalGeneration",
    "base": "no chat template",
    "unknown": "can't read",
    "weights": "no weights",
    "quantised": "is quantised",
}


def write_model(folder: Path, weights: str = "model.safetensors", template: str = TEMPLATE, **config: Any) -> None:
    """A published folder, without what its weights hold."""
    folder.mkdir()
    made = AutoConfig.for_model("llama", vocab_size=300, **SIZES).to_dict()
    (folder / "config.json").write_text(json.dumps({**made, "architectures": ["LlamaForCausalLM"], **config}))
    tokens = {"bos_token": "<|begin_of_text|>", "eos_token": {"content": "<|eot_id|>"}}
    (folder / "tokenizer_config.json").write_text(
        json.dumps(tokens | ({"chat_template": template} if template else {}))
    )
    (folder / weights).touch()


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What is said of each folder."""
    folder = tmp_path_factory.mktemp("models")
    write_model(folder / "llama")
    write_model(folder / "olmo", model_type="olmo2", architectures=["Olmo2ForCausalLM"])
    write_model(folder / "pickles", "model.bin")
    write_model(folder / "code", auto_map={"AutoModel": "x.Y"})
    write_model(folder / "images", architectures=["Gemma3ForConditionalGeneration"])
    write_model(folder / "base", template="")
    write_model(folder / "unknown", model_type="made-up")
    write_model(folder / "weights", "notes.txt")
    write_model(folder / "quantised", quantization_config={"bits": 4})
    request = CheckRequest(machines=MACHINES).model_dump_json()
    return kept_script_result(PROGRAMS / "judged.py", folder, request)


@pytest.mark.parametrize(("name", "model_type"), [("llama", "llama"), ("olmo", "olmo2")])
def test_known_and_unknown_architectures_are_judged_by_the_same_code(
    found: dict[str, Any], name: str, model_type: str
) -> None:
    seen = found[name]
    assert (seen["refusal"], seen["model_type"]) == ("", model_type)
    assert seen["template"] == {"refusal": "", "system": "", "tools": "", "calls": "llama"}
    fits = {fit["adapter"]: fit["machine"]["name"] for fit in seen["fits"]}
    assert fits == dict.fromkeys(("lora", "qlora", "none"), "24000 MB")
    assert seen["parameters"] > 90_000
    assert ("KerasHub can't write" in seen["tensorflow"]) == (model_type != "llama")


def test_what_an_import_refuses_is_refused_before_it(found: dict[str, Any]) -> None:
    for name, words in REFUSED.items():
        assert words in found[name]["refusal"], name
        assert found[name]["fix"], name
    assert found["code"]["where"] == "config.json"
