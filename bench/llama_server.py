"""Our server against llama.cpp's over HTTP: `python -m bench.llama_server LLAMA_CPP [--rounds 5] [--precision f32]
[--model larger]`.

The same weights in the same precision and the same prompts, greedy, at 1, 8 and 16 streams, in turns within one run.
Keys and values have each server's default: 16 bits in llama.cpp, 8 in ours, and 32 with `--precision f32`. Two tables:
requests with new prompts, and long answers to repeated prompts. Both servers cache prefixes of prompts, as llama-server
does by default, so the second table measures decoding only. A ratio is the median over the rounds' ratios.
LLAMA_CPP is llama.cpp's source folder with `build/bin/llama-server`. PyPI's llama-cpp-python has the source:

    pip download --no-deps --no-binary llama-cpp-python llama-cpp-python==0.3.36
    tar xzf llama_cpp_python-0.3.36.tar.gz && cd llama_cpp_python-0.3.36/vendor/llama.cpp
    cmake -B build -DCMAKE_BUILD_TYPE=Release -DLLAMA_OPENSSL=OFF -DLLAMA_USE_PREBUILT_UI=OFF
    cmake --build build --target llama-server

Not a part of `make bench`, because the build takes minutes.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import openvino

from bench.larger_model import larger_model
from bench.serving import STREAMS
from bench.two_servers import DECODING, WHOLE_REQUESTS, BenchedServer, compare, our_server, started
from llmops_kit.core.programs import import_path
from llmops_kit.local_runtime.ports import choose_port
from llmops_kit.serving.engines.cpu_precision import cpu_precision
from llmops_kit.serving.prompts import Prompts
from tests.support.servers.serving import sign_version
from tests.support.tiny_models.models import base_model, copy_model

_CONTEXT = 1024
"""Tokens of a prompt and its answer together."""
_MODELS = {"base": lambda folder: copy_model(base_model(), folder / "model"), "larger": larger_model}


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="llama.cpp's source folder with build/bin/llama-server")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--precision",
        choices=("auto", "f32", "bf16"),
        default="auto",
        help="default: what ours takes on this processor",
    )
    parser.add_argument(
        "--model", choices=_MODELS, default="base", help="SmolLM2-135M, or random weights with TinyLlama-1.1B's layers"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-llama-") as name:
        folder = Path(name)
        version = _MODELS[options.model](folder)
        sign_version(version, folder)
        computed = cpu_precision(openvino.Core(), options.precision)
        print(f"precision: {options.precision}, so {computed}")
        weights = _gguf(options.source, version, folder / "model.gguf", computed)
        with (
            our_server(version, folder, LLMOPS_PRECISION=options.precision, LLMOPS_PREFIX_CACHE="true") as ours,
            _llama(options.source, weights) as theirs,
        ):
            prompts = Prompts.of(version)
            for workload in (WHOLE_REQUESTS, DECODING):
                compare(ours, theirs, options.rounds, ("ours", "llama"), workload, prompts)
            print(f"resident memory, MB: ours {ours.resident():.0f}, llama-server {theirs.resident():.0f}")


def _gguf(source: Path, version: Path, target: Path, precision: str) -> Path:
    """Writes the weights as GGUF with llama.cpp's own converter, which imports sentencepiece for every Llama."""
    more = target.parent / "converter"
    install = [str(Path(sys.executable).with_name("uv")), "pip", "install", "--quiet", "--no-deps", "--target"]
    subprocess.run([*install, str(more), "sentencepiece"], check=True)
    command = [sys.executable, str(source / "convert_hf_to_gguf.py"), str(version)]
    command += ["--outtype", precision, "--outfile", str(target)]
    environment = os.environ | {"PYTHONPATH": str(more)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return target


@contextmanager
def _llama(source: Path, weights: Path) -> Iterator[BenchedServer]:
    port, most = choose_port("127.0.0.1"), max(STREAMS)
    command = [str(source / "build" / "bin" / "llama-server"), "-m", str(weights), "--host", "127.0.0.1"]
    command += ["--port", str(port), "--parallel", str(most), "-c", str(most * _CONTEXT), "-t", str(os.cpu_count())]
    with started(command, port, weights.parent / "llama.log") as server:
        yield server


if __name__ == "__main__":
    os.environ.setdefault("PYTHONPATH", import_path())
    main()
