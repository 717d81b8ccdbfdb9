"""Signed tiny versions and their servers, for the tests that leave them as they were."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from llmops_kit.core.documents.model import ModelManifest
from llmops_kit.core.hashes import sha256_bytes
from tests.support.servers.serving import ServingProcess, sign_version
from tests.support.tiny_models.models import copy_model, tiny_model

TEMPLATE = """\
{% if tools %}<|im_start|>system
{% for tool in tools %}{{ tool | tojson }}{% endfor %}
Call as <tool_call>{"name": ..., "arguments": ...}</tool_call>.<|im_end|>
{% endif %}{% for message in messages %}<|im_start|>{{ message.role }}
{{ message.content }}{% for call in message.tool_calls or [] %}<tool_call>{{ call.function | tojson }}</tool_call>\
{% endfor %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys")


@pytest.fixture(scope="session")
def version(tmp_path_factory: pytest.TempPathFactory, keys: Path) -> Path:
    """A signed version; read-only."""
    folder = copy_model(tiny_model(), tmp_path_factory.mktemp("version") / "model")
    sign_version(folder, keys)
    return folder


@pytest.fixture(scope="session")
def shared_server(version: Path, keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServingProcess]:
    """A ready server; tests leave it as it was."""
    limits = {"LLMOPS_READ_SECONDS": "1", "LLMOPS_WRITE_SECONDS": "1"}
    server = ServingProcess(version, keys, tmp_path_factory.mktemp("logs"), **limits)
    try:
        yield server.wait_ready()
    finally:
        server.kill()


@pytest.fixture(scope="session")
def tools_server(keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServingProcess]:
    """A ready server whose model's template takes tools; tests leave it as it was. It can't make its second golden
    prompt's call, as it is random.
    """
    with served_with_tools(keys, tmp_path_factory.mktemp("tools")) as server:
        yield server


@contextmanager
def served_with_tools(keys: Path, root: Path, **defaults: Any) -> Iterator[ServingProcess]:
    """As `tools_server`; `defaults`: what it does where a request is silent."""
    folder = copy_model(tiny_model(), root / "model")
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    manifest = json.loads((folder / "manifest.json").read_text())
    content = TEMPLATE.encode()
    manifest["files"]["chat_template.jinja"] = {"sha256": sha256_bytes(content), "size": len(content)}
    manifest["serving"] |= defaults
    lamp = {"type": "function", "function": {"name": "lamp"}}
    question = {"messages": [{"role": "user", "content": "Lamp on!"}], "max_tokens": 8}
    manifest["golden"].append(question | {"tools": [lamp], "calls": [{"name": "lamp", "arguments": {}}]})
    ModelManifest.model_validate(manifest).write(folder / "manifest.json")
    sign_version(folder, keys)
    server = ServingProcess(folder, keys, root, LLMOPS_GOLDEN="reported")
    try:
        yield server.wait_ready()
    finally:
        server.kill()


@pytest.fixture
def serve(version: Path, keys: Path, tmp_path: Path) -> Iterator[Callable[..., ServingProcess]]:
    """Starts servers that end with the test: serve(folder=version, **variables)."""
    started: list[ServingProcess] = []

    def start(folder: Path = version, **variables: str) -> ServingProcess:
        started.append(ServingProcess(folder, keys, tmp_path, **variables))
        return started[-1]

    yield start
    for server in started:
        server.kill()
