"""Write docs/base-models.md from the table of base models: `python -m tools.base_models`. A test compares the file with
the code.
"""

from pathlib import Path

from llmops_kit.core.models.base_models import ARCHITECTURES, FAMILIES, Architecture, Family
from llmops_kit.core.models.keras_families import FAMILIES as KERAS_FAMILIES

FILE = Path(__file__).parents[1] / "docs/base-models.md"

_PAGE = """# Base models

<!-- Written by `python -m tools.base_models` from hosting/llmops_kit/core/models/base_models.py: change that, not
this file. -->

Each cell but those of memory is an assertion of `tests/emulated/training/test_families.py`, about a tiny random model
of the architecture and the family's chat template. **Of the published models, only SmolLM2-135M-Instruct was tried**;
the others have the same architecture and code. `llmops models import NAME --source hub:ORG/NAME --revision COMMIT
--check` says of one model what will work, from its small files, with the reason for each no and the smallest GPU for
each adapter.

## Chat templates

| {columns} |
|{rule}|
{families}

A template's name is that of trl's copy. "Published format": written for the test in the form that the models' cards
describe, as trl has no copy. What a template refuses is refused by the row's line when data is prepared, and with
400 by a server. "Calls read": the form in which servers read the model's calls; where it is none, a server refuses
`tools`, even of a model that was trained on calls.

## Training and serving

Every architecture is trained by `sft`, `dpo` and `pretrain`, with `lora`, `qlora` and all weights; packed rows have the
loss of padded ones, and a merged adapter has the bytes of peft's. Greedy answers in f32 are those of transformers'
`generate`, with each engine that has a ✓.

| `model_type` | class | `transformers` | `openvino` | vLLM 0.32 | `framework: tensorflow` |
|---|---|---|---|---|---|
{architectures}

vLLM's column is read from its registry, not run: whether it has a model of its own, or takes transformers'. The last
one is what `training.framework: tensorflow` takes (`hosting/llmops_kit/core/models/keras_families.py`); it refuses
some models of a family by their configuration. An architecture without OpenVINO's form is imported without it, and
served by `transformers` or vLLM.

## Memory

The two columns are computed from the example's published sizes, whose sources are named in
`hosting/llmops_kit/core/models/base_models.py`, and a test counts the parameters of each architecture built with
them. A server needs the weights, in 2 bytes each (bf16) or about 1 (int8), and the cache: keys and values in bf16 of
every token of all open requests, prompts included. 8 requests of 2,048 tokens to Llama 3.1 8B take 16.1 + 2.1 GB; f32
takes twice both. Engines need room beyond that for a step's activations. In Gemma's layers with a window only the last
tokens are kept, so its cache grows more slowly.

Training takes more. `models import --check` works it out from the model's own configuration, and prints weights and
cache too. For Llama 3.1 8B with rows of 512 tokens, the smallest machines of those it compares are one T4 of 16 GB for
`qlora`, one A10G of 24 GB for `lora`, and eight A100 of 80 GB for all weights
(`tests/emulated/cli/test_import_check.py`); it has [not been measured on a GPU](status.md#gpus).

## Not in the table

- Other causal language models take the same code; whether they train and convert was not tried.
- Models that also take images or sound, such as Gemma 3 from 4B on (`Gemma3ForConditionalGeneration`), Mistral Small
  3.1 and Llama 3.2 Vision, are refused: they are no causal language models by their configuration.
- Models that ship code (`auto_map`), pickles alone, quantised weights, and base models without a chat template are
  refused: see [Fine-tune your own base model](how-to/own-base-model.md).
"""


_COLUMNS = (
    *("family", "for example", "`model_type`", "template tested", "system message", "tools trained", "calls read"),
    *("weights, bf16 / int8", "cache of a token", "licence"),
)


def render() -> str:
    """Returns docs/base-models.md, from the table of core/models/base_models.py."""
    families = "\n".join(map(_family, FAMILIES))
    architectures = "\n".join(_architecture(name, each) for name, each in ARCHITECTURES.items())
    columns, rule = " | ".join(_COLUMNS), "|".join("---" for _ in _COLUMNS)
    return _PAGE.format(columns=columns, rule=rule, families=families, architectures=architectures)


def _family(family: Family) -> str:
    tried = family.template != "not tried"
    cells = [
        family.name,
        f"`{family.example}`",
        f"`{family.model_type}`",
        family.template,
        *([_mark(family.system), _mark(family.tools), family.calls or "none"] if tried else ["not tried"] * 3),
        f"{2 * family.sizes.parameters / 1e9:.1f} / {family.sizes.parameters / 1e9:.1f} GB",
        f"{family.sizes.cache / 1e3:.0f} kB",
        family.licence,
    ]
    return f"| {' | '.join(cells)} |"


def _architecture(name: str, each: Architecture) -> str:
    vllm = "its own" if each.vllm == "own" else "transformers'"
    cells = [f"`{name}`", f"`{each.architecture}`", "✓", each.openvino or "✓", vllm, _mark(name in KERAS_FAMILIES)]
    return f"| {' | '.join(cells)} |"


def _mark(works: bool) -> str:
    return "✓" if works else "no"


if __name__ == "__main__":
    FILE.write_text(render())
