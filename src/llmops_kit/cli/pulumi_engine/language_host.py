"""Pulumi's language host for Python, for an engine that was built from source and came without one.

The engine starts it as `pulumi-language-python`, reads a port from its first line, and asks over gRPC to run programs.
It runs in the program's own Python and needs nothing of it but the Pulumi SDK: the engine's folder holds a copy.

The process that will serve dynamic resources is forked as soon as the SDK is imported: started on demand, it would
import the SDK again and hold up the first resource by half a second (`dynamic_provider.py` is the other end).
"""

import contextlib
import gc
import os
import queue
import runpy
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from types import FrameType
from typing import Any

import caller_guard
import dynamic_provider
import grpc
import provider_guard  # noqa: F401  (a warm host's forks don't find it later)
import pulumi
from google.protobuf import empty_pb2
from pulumi._version import version as sdk_version
from pulumi.automation._server import LanguageServer
from pulumi.runtime import settings
from pulumi.runtime.proto import language_pb2, language_pb2_grpc, plugin_pb2

_to_exception = settings.grpc_error_to_exception


def _without_traceback(error: Any) -> Exception:
    """Returns what the SDK raises for an error of the engine; for a canceled call, a message instead of a traceback.

    The engine cancels the program when a resource fails. The SDK itself does this only for an engine that is gone.
    """
    if error.code() == grpc.StatusCode.CANCELLED:
        return pulumi.RunError("the engine canceled the program")
    return _to_exception(error)


settings.grpc_error_to_exception = _without_traceback


class LanguageHost(LanguageServer):
    """Runs Python programs for the engine at `engine_address`."""

    def __init__(self, engine_address: str, after_program: Callable[[], None]) -> None:
        super().__init__(program=lambda: None)
        self._engine_address = engine_address
        self._after_program = after_program

    def Handshake(self, request: Any, context: Any) -> Any:  # noqa: N802 (the protocol's name)
        return language_pb2.LanguageHandshakeResponse()

    def GetPluginInfo(self, request: Any, context: Any) -> Any:  # noqa: N802
        return plugin_pb2.PluginInfo(version=str(sdk_version))

    def InstallDependencies(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        return iter(())  # what is installed is used

    def Cancel(self, request: Any, context: Any) -> Any:  # noqa: N802
        return empty_pb2.Empty()

    def RunPlugin(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        """Run a policy pack: `pulumi up --policy-pack FOLDER` of a folder whose PulumiPolicy.yaml says `python`.

        It runs as Pulumi's own shim does: `python -u -m pulumi.policy ENGINE FOLDER`.
        """
        if request.kind != "analyzer":
            context.abort(
                grpc.StatusCode.UNIMPLEMENTED, f"the kit's language host runs no plugin of kind {request.kind}"
            )
        environ = {**os.environ, **dict(each.partition("=")[::2] for each in request.env), "PYTHONSAFEPATH": "1"}
        folder = request.info.program_directory
        process = subprocess.Popen(
            [_python_of(request.info), "-u", "-m", "pulumi.policy", *request.args, folder],
            cwd=request.pwd or folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        context.add_callback(process.kill)  # the engine is done with it, or gone
        for name, text in _output_of(process):
            out = name == "stdout"
            yield language_pb2.RunPluginResponse(stdout=text) if out else language_pb2.RunPluginResponse(stderr=text)
        yield language_pb2.RunPluginResponse(exitcode=process.wait())

    def Run(self, request: Any, context: Any) -> Any:  # noqa: N802
        folder = request.info.program_directory
        entry = Path(folder, request.info.entry_point)
        sys.argv = [str(entry), *request.args]
        sys.path.insert(0, str(entry if entry.is_dir() else entry.parent))
        with contextlib.suppress(OSError):
            os.chdir(request.pwd or folder)
        self.program = lambda: _run_program(entry)
        request.args[:] = [self._engine_address]  # where the SDK's server looks for it
        try:
            response = super().Run(request, context)
        finally:
            self._after_program()
        if response.error:  # which the SDK has reported; unless it is told so, the engine reports it once more
            return language_pb2.RunResponse(bail=True)
        return response


def _python_of(info: Any) -> str:
    """Returns the Python of a plugin: that of the `virtualenv` in its options, or this process's."""
    named = info.options.fields["virtualenv"].string_value if "virtualenv" in info.options.fields else ""
    return str(Path(info.root_directory, named, "bin", "python")) if named else sys.executable


def _output_of(process: "subprocess.Popen[bytes]") -> Iterator[tuple[str, bytes]]:
    """Yields ("stdout" or "stderr", text) as a process writes, until it has closed both."""
    pieces: queue.SimpleQueue[tuple[str, bytes]] = queue.SimpleQueue()

    def read(name: str, stream: Any) -> None:
        with stream:
            while text := stream.read1():
                pieces.put((name, text))
        pieces.put((name, b""))

    streams = {"stdout": process.stdout, "stderr": process.stderr}
    for name, stream in streams.items():
        threading.Thread(target=read, args=(name, stream), daemon=True).start()
    while streams:
        name, text = pieces.get()
        if text:
            yield name, text
        else:
            del streams[name]


def _run_program(entry: Path) -> None:
    """Run the program; an error other than RunError gets the traceback of the program's own frames."""
    if not (entry.is_file() or (entry / "__main__.py").is_file()):  # runpy would take another one on sys.path
        missing = entry if entry.suffix == ".py" else entry / "__main__.py"
        raise pulumi.RunError(
            f"{missing}: the project has no program, which says what `up` deploys\n  fix: write its two lines, `from "
            "llmops_kit.infra.__main__ import main` and `main()`, or correct `main` in Pulumi.yaml"
        )
    try:
        runpy.run_path(str(entry), run_name="__main__")
    except (pulumi.RunError, grpc.RpcError):
        raise
    except Exception as error:
        own = error.__traceback__
        while own and not own.tb_frame.f_code.co_filename.startswith(str(entry.parent)):
            own = own.tb_next
        text = "".join(traceback.format_exception(type(error), error, own or error.__traceback__))
        raise pulumi.RunError(f"Program failed with an unhandled exception:\n{text}") from error


def _serve(host: LanguageHost) -> None:
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
    caller_guard.guard(host, language_pb2_grpc.LanguageRuntimeServicer)
    language_pb2_grpc.add_LanguageRuntimeServicer_to_server(host, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()

    # Not an Event: its `set` takes a lock that the `wait` which a handler interrupts may hold.
    stopped, stop = os.pipe()

    def end(number: int, frame: FrameType | None) -> None:
        os.write(stop, b".")

    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGTERM, end)
    print(port, flush=True)
    os.read(stopped, 1)
    server.stop(grace=None)


def _fork_dynamic_provider(engine_address: str) -> None:
    """Forks the process that becomes `python -u -m pulumi.dynamic` when the engine asks, or ends with this one."""
    listener = dynamic_provider.listen(engine_address)
    if listener is None or threading.active_count() > 1:  # a fork takes only the calling thread with it
        return
    alive, held = socket.socketpair()
    if os.fork():
        listener.close()
        alive.close()
        held.set_inheritable(False)
        _keep.append(held)  # closed by the kernel when this process ends, however it ends
        return
    held.close()
    dynamic_provider.become(listener, alive)


_keep: list[socket.socket] = []


def run(launcher: socket.socket | None = None, after_program: Callable[[], None] = lambda: None) -> None:
    """Serves the engine in sys.argv until it ends, or the `launcher` that this process replaces."""
    engine_address, engine = sys.argv[-1], os.getppid()
    gc.freeze()
    gc.set_threshold(200_000, 50, 100)  # a program lives for seconds: each collection would walk its imports again
    _fork_dynamic_provider(engine_address)
    if launcher:
        dynamic_provider.end_with(launcher)
    else:
        threading.Thread(target=dynamic_provider.end_with_parent, args=(engine,), daemon=True).start()
    _serve(LanguageHost(engine_address, after_program))
    # Threads of a cancelled program may still wait for an engine that is gone.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    run()
