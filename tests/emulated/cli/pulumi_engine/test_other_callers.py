"""Another user of this machine calls the ports of Pulumi's plugins while an update runs: nothing of it is executed."""

import base64
import contextlib
import os
import pickle
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from google.protobuf import struct_pb2
from pulumi.runtime.proto import language_pb2, language_pb2_grpc, provider_pb2, provider_pb2_grpc

from llmops_kit.infra.providers import provider
from tests.emulated.cli.pulumi_engine.test_language_host import Project
from tests.support.other_users import as_nobody, needs_root

PROGRAM = "from llmops_kit.infra.files import File\nFile('f', {path!r}, 'one')\n"
URN = "urn:pulumi:dev::one::pulumi-python:dynamic:Resource::f"


class Reference:
    """Is pickled as the kit's providers are."""

    def __reduce__(self) -> Any:
        return provider, ("test/file",)


@contextlib.contextmanager
def waiting_update(folder: Path) -> Iterator[tuple[int, int]]:
    """Yields the ports of the language host and of the dynamic provider of an `up` that can't end before the block."""
    pipe = folder / "pipe"
    os.mkfifo(pipe)  # the provider's write waits for a reader
    project = Project(folder, PROGRAM.format(path=str(pipe)))
    update = project.start("up", "--yes", "--skip-preview")
    try:
        deadline = time.monotonic() + 120
        while not (ports := plugin_ports(update.pid)):
            assert time.monotonic() < deadline
            assert update.poll() is None, update.communicate()[0]
            time.sleep(0.05)
        yield ports
        assert pipe.read_text() == "one"
        output, _ = update.communicate(timeout=120)
    finally:
        update.kill()
        update.communicate()
        project.wait_for_no_process()
    assert update.returncode == 0, output
    for name in ("Create", "Run"):
        assert f"refused {name} of ipv4:127.0.0.1:" in output, output


def plugin_ports(engine: int) -> tuple[int, int] | None:
    """Of the language host, and of the provider that it has forked; None while one of them doesn't listen."""
    for host in psutil.Process(engine).children():
        for forked in children_of(host):
            found = [listening(process) for process in (host, forked)]
            if all(found):
                return found[0][0], found[1][0]
    return None


def children_of(process: psutil.Process) -> list[psutil.Process]:
    """None of a process that has ended: the engine also starts some that end at once."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.children()
    return []


def listening(process: psutil.Process) -> list[int]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return [each.laddr.port for each in process.net_connections("tcp") if each.status == psutil.CONN_LISTEN]
    return []


def answer(call: Any, request: Any) -> str:
    """The status that a call ends with."""
    try:
        call(request, timeout=60)
    except grpc.RpcError as e:
        return str(e.code().name)  # pyright: ignore[reportAttributeAccessIssue]
    return "OK"


def create_file(port: int, path: Path) -> str:
    properties = struct_pb2.Struct()
    kind = base64.b64encode(pickle.dumps(Reference())).decode()
    properties.update({"__provider": kind, "path": str(path), "text": "theirs"})
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        request = provider_pb2.CreateRequest(urn=URN, properties=properties)
        return answer(provider_pb2_grpc.ResourceProviderStub(channel).Create, request)


def run_program(port: int, folder: Path) -> str:
    info = language_pb2.ProgramInfo(root_directory=str(folder), program_directory=str(folder), entry_point=".")
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        request = language_pb2.RunRequest(project="one", stack="dev", pwd=str(folder), info=info)
        return answer(language_pb2_grpc.LanguageRuntimeStub(channel).Run, request)


@needs_root
@pytest.mark.vulnerability(15)
def test_vulnerability_15_another_user_runs_nothing_through_the_ports_of_an_update(tmp_path: Path) -> None:
    """User 65534 wrote a file in a folder of user 0, mode 0700: the provider's port took calls from everybody."""
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "__main__.py").write_text(f"import pathlib\npathlib.Path({str(tmp_path / 'ran')!r}).touch()\n")
    with waiting_update(tmp_path) as (language, dynamic):
        assert as_nobody(lambda: create_file(dynamic, tmp_path / "made")) == "PERMISSION_DENIED"
        assert as_nobody(lambda: run_program(language, theirs)) == "PERMISSION_DENIED"
    assert not (tmp_path / "made").exists()
    assert not (tmp_path / "ran").exists()
