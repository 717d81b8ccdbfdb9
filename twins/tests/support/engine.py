"""Pulumi's engine for tests of the stand-in plugins: the user's own, or the kit's where the kit is installed too."""

import os
import shutil
import subprocess
import sys
from functools import cache
from importlib.util import find_spec

import pytest


@cache
def _folder() -> str:
    """The folder of the kit's engine, built if need be; empty: PATH has one that the kit takes."""
    command = [sys.executable, "-m", "llmops_kit.cli.pulumi_engine"]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def engine_environ() -> dict[str, str]:
    """Variables of a process that runs `pulumi`. Skips the test where there is no engine."""
    if find_spec("llmops_kit.cli") and (folder := _folder()):
        path = os.pathsep.join([folder, os.environ["PATH"]])
    elif shutil.which("pulumi"):
        path = os.environ["PATH"]
    else:
        pytest.skip("no Pulumi engine on PATH")
    return {"PATH": path, "PULUMI_SKIP_UPDATE_CHECK": "1", "VIRTUAL_ENV": sys.prefix}
