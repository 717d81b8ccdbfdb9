"""vLLM behind the kit's front against vLLM alone, over HTTP: `python -m bench.vllm_front [--rounds 5] [--model tiny]`.

Both have the same arguments but for `--middleware`, and are asked the same prompts at 1, 8 and 16 streams, greedy, in
turns within one run. A ratio is the median over the rounds' ratios. vLLM is its build for processors, which
`make engines` installs; not a part of `make bench`, since that takes 6 GB.
"""

import argparse
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from bench.llama_server import BenchedServer, compare, healthy
from contract.documents.model import ModelManifest
from contract.layout import MANIFEST
from hosting.ports import choose_port
from serving.settings import ServerSettings
from serving.vllm_server import command
from tests.engines.conftest import VLLM, vllm_interpreter
from tests.support.servers.serving import ServingProcess, sign_version
from tests.support.tiny_models.models import base_model, copy_model, tiny_model

_START_SECONDS = 900.0
_PRECISION = "bf16"
_MODELS = {"base": base_model, "tiny": lambda: tiny_model(heads=2)}


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--model", choices=_MODELS, default="base", help="SmolLM2-135M, or one that computes nearly nothing"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-vllm-") as name:
        folder, python = Path(name), vllm_interpreter()
        version = copy_model(_MODELS[options.model](), folder / "model")
        sign_version(version, folder)
        with _front(version, folder, python) as ours, _alone(version, folder, python) as theirs:
            compare(ours, theirs, options.rounds, ("front", "alone"))


@contextmanager
def _front(version: Path, folder: Path, python: Path) -> Iterator[BenchedServer]:
    name = f"{ModelManifest.load(version / MANIFEST).name}@1"
    named = {"LLMOPS_MODEL_NAME": name, "LLMOPS_PRECISION": _PRECISION}
    server = ServingProcess(version, folder, folder, python=python, **named, **VLLM)
    try:
        server.wait_ready(_START_SECONDS)
        yield BenchedServer(server.process.pid, server.port)
    finally:
        server.kill()


@contextmanager
def _alone(version: Path, folder: Path, python: Path) -> Iterator[BenchedServer]:
    place = {"host": "127.0.0.1", "port": choose_port("127.0.0.1")}
    settings = replace(ServerSettings(version, ""), precision=_PRECISION, **place)
    manifest = ModelManifest.load(version / MANIFEST)
    words = command(settings, manifest, version, (version / "chat_template.jinja").read_text(), gpus=0)
    at = words.index("--middleware")
    del words[at : at + 2]
    log_path = folder / "alone.log"
    arguments = [str(python), "-m", "vllm.entrypoints.openai.api_server", *words]
    environ = os.environ | VLLM | {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_PLUGINS": ""}
    with log_path.open("w") as log, subprocess.Popen(arguments, env=environ, stdout=log, stderr=log) as process:
        try:
            while not healthy(settings.port):
                if process.poll() is not None:
                    raise SystemExit(log_path.read_text()[-2000:])
                time.sleep(0.5)
            yield BenchedServer(process.pid, settings.port)
        finally:
            process.terminate()


if __name__ == "__main__":
    os.environ.setdefault("PYTHONPATH", str(Path(__file__).resolve().parents[1]))
    main()
