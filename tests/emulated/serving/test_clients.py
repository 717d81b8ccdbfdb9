"""Clients that programs use already, unmodified: OpenAI's of two major versions, and LangChain's."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.checkout import CHECKOUT
from tests.support.environments import OPENAI_3, environment
from tests.support.servers.serving import API_KEY, ServingProcess, text_of


def ask(python: str, server: ServingProcess, home: Path) -> dict[str, Any]:
    """Returns what tests/support/servers/asking_clients.py prints in another environment."""
    command = [python, str(CHECKOUT / "tests/support/servers/asking_clients.py"), server.url, API_KEY]
    environ = {"PATH": os.environ["PATH"], "HOME": str(home)}
    done = subprocess.run(command, env=environ, text=True, capture_output=True, timeout=600)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


def test_openais_clients_and_langchain_get_the_same(tools_server: ServingProcess, tmp_path: Path) -> None:
    told = text_of(tools_server.chat(max_tokens=8)[1])
    older = ask(sys.executable, tools_server, tmp_path)
    newer = ask(str(environment("clients", OPENAI_3) / "bin" / "python"), tools_server, tmp_path)
    assert (older["version"][:2], newer["version"][:2]) == ("2.", "3.")
    assert older["openai"] == newer["openai"]
    got, chain = newer["openai"], newer["langchain"]
    assert told == got["chat"] == got["streamed"] == chain["chat"] == chain["streamed"]
    assert got["response"] == [told, "incomplete", "response.incomplete"]
    assert chain["response"].startswith(told)
    assert got["call"][0] == chain["call"][0] == "switch"
    for held in (got["held"], got["call"][1], chain["call"][1], *chain["held"]):
        assert isinstance(held["on"], bool)
    assert chain["back"]
    assert got["models"] == ["tiny@1"]
    assert got["refused"] == {
        "overflow": ["context_length_exceeded", "messages"], "model": ["model_not_found", "model"],
    }  # fmt: skip
