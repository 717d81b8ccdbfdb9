"""Overhead of the Azure twin: `python -m bench.azure_twin [--rounds 5] [--rehearsal]`.

Tokens per second and the time to the first token through the scoring URI, over TLS, against direct requests to the
endpoint's container, in turns. Lines of code that both twins share, and of each alone. With --rehearsal: `llmops
rehearse azure`, step by step.
"""

import argparse
import json
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from bench.serving import Client
from bench.twin import compare_streams, rehearse
from llmops_kit.cli.platforms.registry import open_platform
from llmops_kit.core.documents.outputs import StackOutputs
from llmops_kit.local_runtime import process_images
from llmops_twins.azure import control
from tests.support.clouds.azure_twin import AzureStack, Subscription, make_stack, running_twin
from tests.support.tiny_models.models import base_model, copy_model

_KIT = Path(__file__).resolve().parents[1]
_ROOMS = {
    "both twins": ("twins/llmops_twins/core", "twins/llmops_twins/core/faults.py", "twins/llmops_twins/plugins/*.py"),
    "AWS alone": ("twins/llmops_twins/aws", "twins/llmops_twins/plugins/aws"),
    "Azure alone": ("twins/llmops_twins/azure", "twins/llmops_twins/plugins/azure_native"),
}


def main() -> None:
    """Prints the measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rehearsal", action="store_true", help="rehearse as well: some minutes")
    options = parser.parse_args()
    _lines()
    with tempfile.TemporaryDirectory(prefix="bench-azure-") as name:
        folder = Path(name).resolve()
        with (
            running_twin(folder, containers="run", judge="off", pace=0.1) as subscription,
            _endpoint(subscription, folder) as (twin, container),
        ):
            compare_streams(twin, container, options.rounds)
        if options.rehearsal:
            rehearse(folder, "azure")


def _lines() -> None:
    """Prints the lines of Python of the twins, including comments and empty lines."""
    for label, places in _ROOMS.items():
        files = {file for place in places for file in _files(place)}
        print(f"{f'lines of {label}':28} {sum(len(f.read_text().splitlines()) for f in files):9}")


def _files(place: str) -> Iterator[Path]:
    if "*" in place:
        yield from _KIT.glob(place)
    elif (_KIT / place).is_dir():
        yield from (_KIT / place).rglob("*.py")
    else:
        yield _KIT / place


@contextmanager
def _endpoint(subscription: Subscription, folder: Path) -> Iterator[tuple[Client, Client]]:
    """Deploys SmolLM2 on the twin; yields a client of its scoring URI, and one of its container."""
    built = {name: process_images.build(name) for name in ("training", "serving")}
    stack = make_stack(subscription, folder / "stack", "bench", images=built)
    with subscription.entered():
        stack.serve("bench", _put(stack, folder))
        stack.up()
        outputs = StackOutputs.parse(json.dumps(stack.outputs()), where="outputs")
        key = open_platform(outputs).access("bench", 1.0).key
        tls = ssl.create_default_context(cafile=subscription.environ["SSL_CERT_FILE"])
    parts = urlsplit(outputs.endpoints["bench"].url)
    status = control.status(subscription.home)
    assert status
    (instance,) = status["instances"]
    path = "/v1/chat/completions"
    scoring = Client((parts.hostname or "", parts.port or 0), path, f"Bearer {key}", tls)
    yield scoring, Client(("127.0.0.1", instance["port"]), path, "")


def _put(stack: AzureStack, folder: Path) -> str:
    platform = open_platform(StackOutputs.parse(json.dumps(stack.outputs()), where="outputs"))
    ref = platform.store().put_model(copy_model(base_model(), folder / "model"), platform.sign)
    return f"{ref.alias}@sha256:{ref.sha256}"


if __name__ == "__main__":
    main()
