"""vLLM's server as a child process: `python -m serving.engines.vllm_child PARENT LISTENER ARGUMENTS...`, in the image
serving-vllm.

Does what `vllm serve` does for one server (vllm/entrypoints/launchers/api_server/entry.py), but ends with its parent,
accepts connections from the socket on which the parent listens, and reads requests behind the kit's header guard:
uvicorn takes its protocol as an argument, which vLLM's functions pass on and its command line doesn't name.
"""

import ctypes
import os
import signal
import socket
import sys
from typing import Any

_PR_SET_PDEATHSIG = 1  # from sys/prctl.h


def main(parent: int, listener: int, arguments: list[str]) -> None:
    """Runs vLLM's server until it ends; SIGTERM comes when the process `parent` ends, however it does.

    Args:
        parent: process id.
        listener: handle of a listening socket.
        arguments: of vLLM's server.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    if os.getppid() != parent:  # it ended before prctl: nobody will ever send the signal
        sys.exit(1)
    import uvloop
    from vllm.entrypoints.launchers.cli_args import (  # pyright: ignore[reportMissingImports]
        make_arg_parser,
        validate_parsed_serve_args,
    )
    from vllm.entrypoints.launchers.launcher import (  # pyright: ignore[reportMissingImports]
        validate_api_server_args,
    )
    from vllm.entrypoints.serve.utils.api_utils import cli_env_setup  # pyright: ignore[reportMissingImports]
    from vllm.logger import configure_logging_from_args  # pyright: ignore[reportMissingImports]
    from vllm.utils.argparse_utils import FlexibleArgumentParser  # pyright: ignore[reportMissingImports]

    cli_env_setup()
    args = make_arg_parser(FlexibleArgumentParser()).parse_args(arguments)
    configure_logging_from_args(args)
    validate_parsed_serve_args(args)
    validate_api_server_args(args)
    uvloop.run(_serve(args, socket.socket(fileno=listener)))


async def _serve(args: Any, sock: socket.socket) -> None:
    from vllm.entrypoints.launchers.api_server.entry import (  # pyright: ignore[reportMissingImports]
        run_server_worker,
    )

    from serving.front.protocol import guarded_class, new_guard
    from serving.settings import ServerSettings

    guard = new_guard(ServerSettings.from_environ(os.environ).limits)
    signal.signal(signal.SIGTERM, _interrupt)  # until vLLM serves, and sets its own handler
    await run_server_worker(
        f"http://{args.host}:{args.port}",
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
