"""vLLM behind the kit's front against vLLM alone, over HTTP: `python -m bench.vllm_front [--rounds 5] [--model tiny]
[--engine-processors 0-1]`.

Both have the same arguments except `--middleware`, and get the same prompts at 1, 8 and 16 streams, greedy, in turns
within one run. A ratio is the median over the rounds' ratios. vLLM is its build for CPUs, which `make engines`
installs; not a part of `make bench`, since that takes 6 GB.

With a GPU, the server has the CPUs to itself. Here the engine's threads run on the first one, and the server on the
others, as vLLM's documentation recommends for CPUs (docs.vllm.ai, Installation, CPU, Performance tips: "reserve 1-2
CPU cores for the serving framework").
"""

import argparse
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from bench.two_servers import DECODING, BenchedServer, compare, our_server, started
from llmops_kit.core.documents.model import ModelManifest
from llmops_kit.core.engines.engine_settings import EngineSettings
from llmops_kit.core.layout import MANIFEST
from llmops_kit.core.programs import import_path
from llmops_kit.local_runtime.ports import choose_port
from llmops_kit.serving.prompts import Prompts
from llmops_kit.serving.server_settings import ServerSettings
from llmops_kit.serving.vllm_server import command
from tests.engines.conftest import VLLM, vllm_interpreter
from tests.support.servers.serving import sign_version
from tests.support.tiny_models.models import base_model, copy_model, tiny_model

_PRECISION = "bf16"
_MODELS = {"base": base_model, "tiny": lambda: tiny_model(heads=2)}


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--model", choices=_MODELS, default="base", help="SmolLM2-135M, or one that computes nearly nothing"
    )
    parser.add_argument("--engine-processors", default="0", help="processors of the engine's threads; default: 0")
    options = parser.parse_args()
    environ = VLLM | {"VLLM_CPU_OMP_THREADS_BIND": options.engine_processors}
    with tempfile.TemporaryDirectory(prefix="bench-vllm-") as name:
        folder, python = Path(name), vllm_interpreter()
        version = copy_model(_MODELS[options.model](), folder / "model")
        sign_version(version, folder)
        with (
            our_server(version, folder, python, LLMOPS_PRECISION=_PRECISION, **environ) as ours,
            _alone(version, folder, python, environ) as theirs,
        ):
            compare(ours, theirs, options.rounds, ("front", "alone"), DECODING, Prompts.of(version))


@contextmanager
def _alone(version: Path, folder: Path, python: Path, environ: Mapping[str, str]) -> Iterator[BenchedServer]:
    place = {"host": "127.0.0.1", "port": choose_port("127.0.0.1")}
    settings = replace(ServerSettings(version, ""), engine_settings=EngineSettings(precision=_PRECISION), **place)
    manifest = ModelManifest.load(version / MANIFEST)
    words = command(settings, manifest, version, (version / "chat_template.jinja").read_text(), gpus=0)
    at = words.index("--middleware")
    del words[at : at + 2]
    own = os.environ | environ | {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_PLUGINS": ""}
    program = [str(python), "-m", "vllm.entrypoints.openai.api_server", *words]
    with started(program, settings.port, folder / "alone.log", own) as server:
        yield server


if __name__ == "__main__":
    os.environ.setdefault("PYTHONPATH", import_path())
    main()
