"""Models of the families that Keras trains, as PyTorch makes and computes them; run in the training image.

python families.py make FOLDER       a tiny random model of each family, with settings that KerasHub does not expect
python families.py compare FOLDER    JSON: for each model and for what Keras wrote of it, how far the logits are apart
python families.py losses BASE ROWS RECIPES KERAS
                                     JSON: the losses of the oracle for each recipe, from where Keras's updates began
"""

import json
import sys
from pathlib import Path

from llmops_kit.training.process import prepare_process

prepare_process()

import torch  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from transformers import (  # noqa: E402
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from llmops_kit.core.documents.recipe import Recipe  # noqa: E402
from tests.emulated.training.programs.keras_names import IDS  # noqa: E402
from tests.emulated.training.programs.oracle import train  # noqa: E402
from tests.support.tiny_models.tiny import make_tokenizer  # noqa: E402

_SIZES = {
    "vocab_size": 259,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.3,
    "rms_norm_eps": 1e-3,
}
_LLAMA_3 = {
    "rope_type": "llama3",
    "rope_theta": 5000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
_THETA = {"rope_type": "default", "rope_theta": 5000.0}
FAMILIES = {
    "llama": (LlamaForCausalLM, LlamaConfig(**_SIZES, rope_parameters=_LLAMA_3, tie_word_embeddings=False)),
    "llama-tied": (LlamaForCausalLM, LlamaConfig(**_SIZES, rope_parameters=_THETA, tie_word_embeddings=True)),
    "mistral": (MistralForCausalLM, MistralConfig(**_SIZES, rope_parameters=_THETA, sliding_window=None)),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config(**_SIZES, rope_parameters=_THETA, tie_word_embeddings=False)),
    "qwen2-tied": (Qwen2ForCausalLM, Qwen2Config(**_SIZES, rope_parameters=_THETA, tie_word_embeddings=True)),
}


def make(folder: Path) -> None:
    """Their biases and norms are random too."""
    for number, (name, (kind, config)) in enumerate(FAMILIES.items()):
        torch.manual_seed(number)
        model = kind(config)
        for parameter_name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                torch.nn.init.normal_(parameter, mean=0.0 if "bias" in parameter_name else 1.0, std=0.2)
        model.to(torch.bfloat16).save_pretrained(folder / name)  # as versions are stored
        make_tokenizer().save_pretrained(folder / name)


def logits(folder: Path) -> torch.Tensor:
    """Of IDS, in f32."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        return model(input_ids=torch.tensor(IDS)).logits


def compare(folder: Path) -> dict[str, float]:
    """The largest distance of logits: Keras's (`<name>.safetensors`) from PyTorch's of the same folder."""
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        for kind, kept in load_file(path).items():
            written = load_file(folder / f"{path.stem}-{kind}" / "model.safetensors")
            assert written.keys() == load_file(folder / path.stem / "model.safetensors").keys()
            source = folder / path.stem if kind == "read" else folder / f"{path.stem}-{kind}"
            found[f"{path.stem} {kind}"] = (logits(source) - kept).abs().max().item()
    return found


def losses(base: Path, rows: Path, recipes: Path, keras: Path) -> list[list[float]]:
    """Where an update began: in Keras's layout, A is [inputs, r]."""
    found = []
    for number, each in enumerate(json.loads(recipes.read_text())):
        path = keras / f"start-{number}.safetensors"
        start = {name: value.T for name, value in load_file(path).items()} if path.exists() else None
        found.append(train(base, rows, Recipe.parse(each, "RECIPES"), start)[0])
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    command, *paths = sys.argv[1], *map(Path, sys.argv[2:])
    print(json.dumps({"make": make, "compare": compare, "losses": losses}[command](*paths)))
