"""Each cell of the table of base models (hosting/llmops_kit/core/models/base_models.py), held by a tiny model of
the architecture, and by the family's chat template.
"""

import json
import re
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from trl import chat_template_utils as trl_templates

from llmops_kit.core.models.base_models import ARCHITECTURES, FAMILIES, Family
from llmops_kit.core.models.gpu_fit import cache_of
from llmops_kit.training.data.templates import report_of
from tests.support.runs.training import PROGRAMS, kept_script_result, write_rows
from tests.support.tiny_models.models import base_model, families
from tests.support.tiny_models.tiny import make_tokenizer

# In the form that the models' cards and papers describe; the models' own files can't be had here.
_FORMATS = {
    "Mistral 7B": "{{ bos_token }}{% set ns = namespace(system='') %}{% for m in messages %}"
    "{% if m.role == 'system' %}{% set ns.system = m.content + '\n\n' %}"
    "{% elif m.role == 'user' %}{% if tools and loop.first %}[AVAILABLE_TOOLS] {{ tools | tojson }}[/AVAILABLE_TOOLS]"
    "{% endif %}[INST] {{ ns.system }}{{ m.content }}[/INST]{% set ns.system = '' %}"
    "{% elif m.tool_calls %}[TOOL_CALLS] [{% for call in m.tool_calls %}"
    '{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}, "id": "{{ call.id }}"}'
    "{% if not loop.last %}, {% endif %}{% endfor %}]{{ eos_token }}"
    "{% elif m.role == 'tool' %}[TOOL_RESULTS] {{ {'content': m.content, 'call_id': m.tool_call_id} | tojson }}"
    "[/TOOL_RESULTS]{% else %} {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}",
    "Phi 4": "{% for m in messages %}<|im_start|>{{ m.role }}<|im_sep|>{{ m.content }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant<|im_sep|>{% endif %}",
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `each_family.py` saw of each architecture."""
    rows = tmp_path_factory.mktemp("rows")
    write_rows(rows)
    return kept_script_result(PROGRAMS / "each_family.py", families(), rows)


def test_every_architecture_is_trained_by_every_method_and_adapter(found: dict[str, Any]) -> None:
    assert found.keys() == ARCHITECTURES.keys()
    for model_type, seen in found.items():
        assert len(seen["losses"]) == 3
        for way, (first, last) in seen["losses"].items():
            assert last < first, f"{model_type}, {way}"


def test_packed_rows_have_the_loss_of_padded_ones(found: dict[str, Any]) -> None:
    for model_type, seen in found.items():
        assert seen["packed"] == pytest.approx(seen["losses"]["sft lora"][0], rel=1e-5), model_type


def test_a_merge_of_each_architecture_has_the_bytes_of_pefts(found: dict[str, Any]) -> None:
    assert {model_type: seen["merged"] for model_type, seen in found.items()} == dict.fromkeys(ARCHITECTURES, True)


def test_every_engine_gives_the_greedy_tokens_of_transformers(found: dict[str, Any]) -> None:
    for model_type, architecture in ARCHITECTURES.items():
        answers = found[model_type]["answers"]
        assert answers.keys() == {"generate", "transformers", *([] if architecture.openvino else ["openvino"])}
        for engine, tokens in answers.items():
            assert tokens == answers["generate"], f"{model_type}, {engine}"
        assert all(len(answer) == 24 for answer in answers["generate"])


def test_the_converter_refuses_what_the_table_says() -> None:
    refused = json.loads((families() / "openvino.json").read_text())
    assert refused.keys() == {name for name, each in ARCHITECTURES.items() if each.openvino}
    assert all("Maximum required is 5.0" in why for why in refused.values())


def test_architectures_are_those_that_transformers_names() -> None:
    for model_type, each in ARCHITECTURES.items():
        model: Any = AutoModelForCausalLM._model_mapping[type(AutoConfig.for_model(model_type))]
        assert model.__name__ == each.architecture


@pytest.mark.parametrize(
    "family", [family for family in FAMILIES if family.template != "not tried"], ids=lambda f: f.name
)
def test_chat_templates_do_what_the_table_says(family: Family) -> None:
    own = family.template == "the model's own"
    tokenizer: Any = AutoTokenizer.from_pretrained(base_model()) if own else make_tokenizer()
    if family.name in _FORMATS:
        tokenizer.chat_template = _FORMATS[family.name]
    elif not own:
        tokenizer.chat_template = (trl_templates._CHAT_TEMPLATES_DIR / f"{family.template}.jinja").read_text()
    report = report_of(tokenizer)
    assert report.refusal == ""
    assert (not report.system, not report.tools, report.calls) == (family.system, family.tools, family.calls)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.name)
def test_each_examples_sizes_give_its_number_of_parameters(family: Family) -> None:
    sizes = family.sizes
    given = {
        "num_hidden_layers": sizes.layers,
        "hidden_size": sizes.hidden,
        "intermediate_size": sizes.feed_forward,
        "num_attention_heads": sizes.heads,
        "num_key_value_heads": sizes.key_value_heads,
        "head_dim": sizes.head,
        "vocab_size": sizes.vocabulary,
        "tie_word_embeddings": sizes.tied,
        "pad_token_id": None,
    }
    config = AutoConfig.for_model(family.model_type, **given)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    assert sum(weight.numel() for weight in model.parameters()) == sizes.parameters
    assert cache_of(config.to_dict()) == sizes.cache


def test_each_family_has_an_architecture() -> None:
    assert {family.model_type for family in FAMILIES} == ARCHITECTURES.keys()
    assert all(re.fullmatch(r"[\w-]+/[\w.-]+", family.example) for family in FAMILIES)
