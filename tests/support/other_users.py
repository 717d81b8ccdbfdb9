"""What another user of this machine can do: a function in a child process that has become user 65534."""

import json
import os
import traceback
from collections.abc import Callable
from typing import Any

import pytest

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def as_nobody(function: Callable[[], Any]) -> Any:
    """What a function answers (JSON) as another user, without root's groups and rights.

    A child of this process, not a program: the interpreter may lie where that user can't go.

    Raises:
        AssertionError: it raised.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        told: dict[str, Any] = {}
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            told = {"answer": function()}
        except BaseException:
            told = {"failure": traceback.format_exc()}
        finally:
            with os.fdopen(writing, "w") as pipe:
                json.dump(told, pipe)
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        told = json.load(pipe)
    os.waitpid(pid, 0)
    assert "failure" not in told, told["failure"]
    return told["answer"]
