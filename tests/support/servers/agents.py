"""Agents that ask an endpoint, in an environment of their clients: see tests/support/servers/agent_clients.py."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmops_kit.core.documents.store import Alias
from llmops_kit.core.layout import alias_key, model_key
from tests.support.checkout import CHECKOUT
from tests.support.environments import LANGCHAIN, environment
from tests.support.servers.agent_clients import FUNCTIONS, QUESTIONS

_ARGUMENTS: dict[str, dict[str, Any]] = {"room_humidity": {"room": "kitchen"}, "train_delay": {"number": 315}}


def require_agents_work(url: str, key: str, model: str, environ: Mapping[str, str]) -> None:
    """Has both agents ask; each must make the right call of the right function, and answer from its result.

    Args:
        url: base URL of OpenAI's routes.
        environ: of the agents' process.
    """
    python = environment("clients", LANGCHAIN) / "bin" / "python"
    command = [str(python), str(CHECKOUT / "tests/support/servers/agent_clients.py"), url, key, model]
    ours = {name: value for name, value in environ.items() if not name.startswith(("PYTHON", "LANG"))}
    done = subprocess.run(command, env=ours, text=True, capture_output=True, timeout=3600)
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads(done.stdout)
    assert found.keys() == {"openai", "langchain"}
    for who, answers in found.items():
        assert answers.keys() == QUESTIONS.keys()
        for name, told in answers.items():
            assert told["calls"] == [[name, _ARGUMENTS[name]]], (who, told)
            [result] = json.loads(FUNCTIONS[name](**_ARGUMENTS[name])).values()
            assert str(result) in told["answer"], (who, told)


def access_of(printed: str) -> tuple[str, str, str]:
    """Returns URL, key and model that `llmops status --env ENDPOINT --json` printed."""
    found = json.loads(printed[printed.index("{") :])
    return found["base_url"], found["api_key"], found["model"]


def version_folder(project: Path, stack: str, model: str) -> Path:
    """Returns the folder of a model's first version in a local stack's store."""
    store = project / ".llmops" / stack / "store"
    alias = Alias.load(store / alias_key(model, 1))
    return store / model_key(alias.sha256)
