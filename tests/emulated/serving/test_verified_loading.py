"""The engine loads what was verified in the same start: the real engines, and files that change at the worst moment."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmops_kit.core.engines.engine_settings import EngineSettings
from llmops_kit.core.errors import IntegrityError
from llmops_kit.serving.bringup import BringUp
from llmops_kit.serving.engines.spawn import WorkerProcess
from llmops_kit.serving.engines.wire import Channel
from llmops_kit.serving.server_settings import EngineName, ServerSettings
from tests.support.checkout import IMPORT_PATH
from tests.support.servers.serving import ServingProcess, flip_byte, text_of, until
from tests.support.tiny_models.models import copy_model

WEIGHTS = {"openvino": "openvino/openvino_model.bin", "transformers": "model.safetensors"}
REQUEST = {"prompt": [5, 9, 33], "max_tokens": 12, "stop_ids": []}
FAILING = """
import os, sys
if "llmops_kit.serving.engines.worker" in sys.orig_argv:
    from llmops_kit.serving.engines.openvino_backend import OpenVinoBackend
    step = OpenVinoBackend.step

    def failing(self):
        if os.path.exists(os.environ["HOME"] + "/fail"):
            raise RuntimeError("as asked")
        return step(self)

    OpenVinoBackend.step = failing
"""


def tokens_after(version: Path, keys: Path, engine: EngineName, change: Callable[[Path], None]) -> list[int]:
    """Verify a version, change its weights, and only then let an engine load; the tokens that it computes."""
    if engine == "transformers":
        pytest.importorskip("torch", reason="the image serving-torch's packages are not in this environment")
    settings = ServerSettings(
        version,
        (keys / "signing.pub").read_text(),
        engine=engine,
        engine_settings=EngineSettings(precision="f32"),
        threads=1,
    )
    here, there = socket.socketpair()
    with here, there:
        order = BringUp(settings, WorkerProcess(Any, here, "openvino"))  # pyright: ignore[reportArgumentType]
        verified = order.verified.result()
        change(version / WEIGHTS[engine])
        command = [sys.executable, "-m", "llmops_kit.serving.engines.worker", str(there.fileno()), engine]
        environment = os.environ | {"PYTHONPATH": IMPORT_PATH}
        with subprocess.Popen(command, pass_fds=[there.fileno()], env=environment) as process:
            there.close()
            try:
                tokens = _ask(Channel(here))
                verified.require_unchanged()
                return tokens
            finally:
                process.kill()
                verified.close()


def _ask(channel: Channel) -> list[int]:
    (first,) = channel.receive(wait=True)
    assert "loaded" in first, first
    channel.send({"add": [0, REQUEST]})
    tokens: list[int] = []
    while True:
        for message in channel.receive(wait=True):
            for _, ids, finish, _ in message["step"]:
                tokens += ids
                if finish:
                    return tokens


def other_weights(path: Path) -> bytes:
    """As many bytes that load, and compute something else."""
    content = path.read_bytes()
    half = len(content) // 2
    return content[:half] + bytes(len(content) - half)


def exchange(path: Path) -> None:
    (path.parent / "other").write_bytes(other_weights(path))
    (path.parent / "other").replace(path)


def overwrite(path: Path) -> None:
    content = other_weights(path)
    with path.open("r+b") as file:
        file.write(content)


@pytest.fixture(scope="module")
def expected(version: Path, keys: Path) -> list[int]:
    """Of the version as it was signed; in f32 both engines compute the same."""
    return tokens_after(version, keys, "openvino", lambda _path: None)


@pytest.mark.vulnerability(9)
@pytest.mark.scorecard("tampered-refused")
@pytest.mark.parametrize("engine", WEIGHTS)
def test_vulnerability_9_a_file_exchanged_after_it_was_verified_is_not_loaded(
    version: Path, keys: Path, tmp_path: Path, expected: list[int], engine: EngineName
) -> None:
    assert tokens_after(copy_model(version, tmp_path / "exchanged"), keys, engine, exchange) == expected


@pytest.mark.vulnerability(9)
@pytest.mark.scorecard("tampered-refused")
def test_vulnerability_9_a_file_written_into_after_it_was_verified_is_not_served(
    version: Path, keys: Path, tmp_path: Path, expected: list[int]
) -> None:
    shared = copy_model(version, tmp_path / "shared")
    (shared / WEIGHTS["openvino"]).chmod(0o666)
    assert tokens_after(shared, keys, "openvino", overwrite) == expected
    with pytest.raises(IntegrityError, match="while it was loaded"):
        tokens_after(copy_model(version, tmp_path / "own"), keys, "openvino", overwrite)


@pytest.fixture
def failing(serve: Callable[..., ServingProcess], version: Path, tmp_path: Path) -> tuple[ServingProcess, Path]:
    """A server whose engine's steps fail while a file `fail` exists in the test's folder; and its version."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(FAILING)
    folder = copy_model(version, tmp_path / "later")
    return serve(folder, PYTHONPATH=f"{tmp_path / 'site'}:{IMPORT_PATH}").wait_ready(), folder


@pytest.mark.vulnerability(9)
@pytest.mark.scorecard("tampered-refused")
def test_vulnerability_9_after_a_failed_step_everything_is_verified_again(
    failing: tuple[ServingProcess, Path], tmp_path: Path
) -> None:
    server, folder = failing
    expected, first = text_of(server.chat(max_tokens=20)[1]), server.engine_pid()
    (tmp_path / "fail").touch()
    status, answer = server.chat(max_tokens=20)
    assert (status, answer["error"]["message"]) == (503, "the engine failed: as asked")
    (tmp_path / "fail").unlink()
    until(lambda: not Path(f"/proc/{first}").exists())
    server.wait_ready()
    assert server.engine_pid() != first
    assert text_of(server.chat(max_tokens=20)[1]) == expected
    flip_byte(folder / WEIGHTS["openvino"])
    (tmp_path / "fail").touch()
    assert server.chat()[0] == 503
    assert server.process.wait(60) == 1
    assert WEIGHTS["openvino"] in server.last_line()
    assert "was changed" in server.last_line()
