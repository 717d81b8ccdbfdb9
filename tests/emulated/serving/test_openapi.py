"""The published description against the running server: schemathesis tries what it says, and what it doesn't."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.emulated.serving.conftest import served_with_tools
from tests.support.environments import SCHEMATHESIS, environment
from tests.support.servers.serving import API_KEY, ServingProcess

# A request may fit its schema and still ask what this model can't do, which is 400: of JSON schemas, no schema tells.
_NOT_CHECKED = "positive_data_acceptance"


@pytest.fixture
def brief_server(keys: Path, tmp_path: Path) -> Iterator[ServingProcess]:
    """Answers shortly where a request is silent: a random model never ends an answer by itself."""
    with served_with_tools(keys, tmp_path, max_tokens=16) as server:
        yield server


def test_the_description_is_true(brief_server: ServingProcess, tmp_path: Path) -> None:
    command = [
        str(environment("clients", SCHEMATHESIS) / "bin" / "schemathesis"), "--no-color", "run",
        f"{brief_server.url}/openapi.json", "--header", f"Authorization: Bearer {API_KEY}",
        "--phases", "coverage,fuzzing", "--max-examples", "10", "--generation-deterministic",
        "--exclude-checks", _NOT_CHECKED, "--warnings", "off",
    ]  # fmt: skip
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    done = subprocess.run(command, env=environ, cwd=tmp_path, text=True, capture_output=True, timeout=600)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr
    assert "No issues found" in done.stdout
    assert brief_server.chat(max_tokens=1)[0] == 200
