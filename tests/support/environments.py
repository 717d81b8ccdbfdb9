"""Python environments of foreign programs, each of its own below the cache: made when they are first asked for."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from llmops_kit.core.layout import cache_dir
from llmops_kit.local_runtime.environments import find_uv
from llmops_kit.local_runtime.files import locked

SAGEMAKER = ("sagemaker==3.27.0",)
"""The SDK with the boto3 that it asks for; 900 MB on the disk."""
AZURE_AI_ML = ("azure-ai-ml==1.35.2",)
"""The SDK whose models the schemas of twins/llmops_twins/azure/schemas were compiled from; 70 MB on the disk."""

SCHEMATHESIS = ("schemathesis==4.32.5",)
"""Asks a server what its OpenAPI description says, and what it doesn't; 130 MB on the disk."""
OPENAI_3 = ("openai==3.57.0", "langchain-openai==1.7.4")
"""The client after the one that the kit's own tests use, and LangChain's, which needs it; 110 MB on the disk."""
LANGCHAIN = (*OPENAI_3, "langchain==1.5.2")
"""The same, and LangChain's agents; 80 MB on the disk."""

MLFLOW = ("mlflow==3.17.2",)
"""The server, with the client of requirements/mlflow.in; 600 MB on the disk."""
TENSORBOARD = ("tensorboard==2.21.0",)
"""Reads event files; 53 MB on the disk."""

UNBABEL_COMET = ("unbabel-comet==2.2.7", "torch==2.13.0", "setuptools==80.9.0")
"""COMET as its authors wrote it, with the training image's torch; torchmetrics 0.10 needs setuptools' pkg_resources."""


def environment(kind: str, pins: Sequence[str]) -> Path:
    """The folder of an environment with exactly these packages, and what they need; it takes a minute once.

    Args:
        kind: whose it is, a folder below the cache.
        pins: as `name==version`.
    """
    home = cache_dir() / kind / "-".join(pin.replace("==", "-") for pin in pins)
    with locked(home.with_name(f"{home.name}.lock")):
        if not (home / "complete").exists():
            _uv("venv", "--quiet", "--clear", "--python", sys.executable, str(home))
            _uv("pip", "install", "--quiet", "--python", str(home / "bin" / "python"), *pins)
            (home / "complete").touch()
    return home


def _uv(*arguments: str) -> None:
    subprocess.run([find_uv(), *arguments], check=True, timeout=900)
