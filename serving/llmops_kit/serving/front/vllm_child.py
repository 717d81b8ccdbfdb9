"""vLLM's server as a child process: `python -m llmops_kit.serving.front.vllm_child PARENT LISTENER ARGUMENTS...`, in
the image serving-vllm.

Does what `vllm serve` does for one server (vllm/entrypoints/launchers/api_server/entry.py), but ends with its parent,
accepts connections from the socket on which the parent listens, and reads requests behind the kit's HTTP guard. vLLM's
functions take a socket, and pass a protocol on to uvicorn, but its command line has no option for either. So its `main`
is patched to call `_serve` here instead of its own `run_server`, because the modules that `main` imports move between
releases.
"""

import ctypes
import functools
import os
import signal
import socket
import sys
from typing import Any

_PR_SET_PDEATHSIG = 1  # from sys/prctl.h


def main(parent: int, listener: int, arguments: list[str]) -> None:
    """Runs vLLM's server until it ends; gets SIGTERM when the process `parent` ends, even if that is killed.

    Args:
        parent: process id.
        listener: handle of a listening socket.
        arguments: of vLLM's server.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    if os.getppid() != parent:  # it ended before prctl, so the signal will never arrive
        sys.exit(1)
    from vllm.entrypoints.launchers.api_server import entry  # pyright: ignore[reportMissingImports]

    sys.argv = [entry.__name__, *arguments]
    entry.run_server = functools.partial(_serve, entry, socket.socket(fileno=listener))
    entry.main()


async def _serve(entry: Any, sock: socket.socket, args: Any) -> None:
    """Serves like `entry.run_server(args)`, on a socket that listens already and behind the HTTP guard."""
    from llmops_kit.serving.front.protocol import guarded_class, new_guard
    from llmops_kit.serving.server_settings import ServerSettings

    guard = new_guard(ServerSettings.from_environ(os.environ).limits)
    signal.signal(signal.SIGTERM, _interrupt)  # until vLLM serves, and sets its own handler
    port, args.port = args.port, 0
    # setup_server checks the arguments, and binds a port that is not needed.
    _, unused = entry.setup_server(args, reuse_port=False)
    unused.close()
    args.port = port
    await entry.run_server_worker(
        f"http://{args.host}:{port}",
        sock,
        args,
        http=guarded_class(guard),
        ws="none",
        proxy_headers=False,
        server_header=False,
    )


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt("terminated")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
