"""Memory of merging an adapter: `python -m bench.merge [--layers 24] [--shard-mb 100]`.

A random Llama in several files of weights; peak memory of the merge beyond its imports, relative to the weights' bytes,
by the kit and by peft in f32, each in its own process.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

WAYS = ("kit", "peft")


def main() -> None:
    """Prints the measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--shard-mb", type=int, default=100)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-merge-") as name:
        folder = Path(name)
        _python(f"make(Path({name!r}), {given.layers}, {given.shard_mb})")
        files = [path.stat().st_size for path in (folder / "base").glob("*.safetensors")]
        print(f"weights {sum(files) / 1e6:.0f} MB in {len(files)} files, the largest of {max(files) / 1e6:.0f} MB")
        for way in WAYS:
            peak = int(_python(f"print(peak_of_{way}(Path({name!r})))"))
            print(f"{way:5} peak memory {peak / 1e6:6.0f} MB, to the weights {peak / sum(files):.2f}")


def make(folder: Path, layers: int, shard_mb: int) -> None:
    """Writes the folders `base` and `adapter`."""
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"vocab_size": 8192, "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": layers}
    config = LlamaConfig.from_dict(sizes)
    model = LlamaForCausalLM(config).bfloat16()
    model.save_pretrained(folder / "base", max_shard_size=f"{shard_mb}MB")
    get_peft_model(model, LoraConfig(r=16, target_modules="all-linear")).save_pretrained(str(folder / "adapter"))


def peak_of_kit(folder: Path) -> int:
    """Returns the peak bytes of the kit's merge, including mapped files."""
    import safetensors.torch  # noqa: F401

    from llmops_kit.training.models.merge import merge

    (folder / "kit").mkdir()
    return _peak(lambda: merge(folder / "base", folder / "adapter", folder / "kit"))


def peak_of_peft(folder: Path) -> int:
    """Returns the peak bytes of a merge in memory."""
    from peft import PeftModel

    from llmops_kit.training.models.weights import load_model

    def merge() -> None:
        merged = PeftModel.from_pretrained(load_model(folder / "base"), folder / "adapter").merge_and_unload()
        merged.bfloat16().save_pretrained(folder / "peft")

    return _peak(merge)


def _peak(work: Callable[[], object]) -> int:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    work()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024


def _python(code: str) -> str:
    program = f"from pathlib import Path\nfrom bench.merge import *\n{code}"
    environ = os.environ | {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "TQDM_DISABLE": "1"}
    done = subprocess.run([sys.executable, "-c", program], env=environ, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip()


if __name__ == "__main__":
    main()
