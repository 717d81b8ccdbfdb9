"""vLLM's server as a child process: `python -m serving.engines.vllm_child PARENT ARGUMENTS...`, in the image
serving-vllm.

Does what `vllm serve` does for one server (vllm/entrypoints/launchers/api_server/entry.py), but ends with its parent.
"""

import ctypes
import os
import runpy
import signal
import sys

_PR_SET_PDEATHSIG = 1  # from sys/prctl.h
_SERVER = "vllm.entrypoints.launchers.api_server.entry"


def main(parent: int, arguments: list[str]) -> None:
    """Runs vLLM's server until it ends; SIGTERM comes when the process `parent` ends, however it does."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    if os.getppid() != parent:  # it ended before prctl: nobody will ever send the signal
        sys.exit(1)
    sys.argv = [_SERVER, *arguments]
    runpy.run_module(_SERVER, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
