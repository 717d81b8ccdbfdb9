"""What emulated tests of the twins share."""

import importlib
from collections.abc import Iterator
from importlib.util import find_spec

import pytest


@pytest.fixture(scope="session", autouse=True)
def warm_programs() -> Iterator[None]:
    """Where the kit is installed too, its engine starts Pulumi programs without importing the SDKs each time."""
    if not find_spec("llmops_kit.cli"):
        yield
        return
    with importlib.import_module("llmops_kit.cli.pulumi_engine.warm").kept_warm():
        yield
