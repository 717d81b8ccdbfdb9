"""How a job ends: its exit code, and the file that says why it failed."""

import errno
import os
import sys
from pathlib import Path

FAILED, DIVERGED, STOPPED = 1, 3, 143  # 143: what a shell calls an end by SIGTERM


def report_failure(path: Path, text: str) -> None:
    """Print why the job failed, and leave it where the platform looks, unless another process of it did so first."""
    print(f"error: {text}", file=sys.stderr, flush=True)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x") as file:
            file.write(text + "\n")
    except FileExistsError:
        pass
    except OSError as e:
        print(f"error: {path} can't be written: {e.strerror}", file=sys.stderr, flush=True)


def described(error: Exception) -> str:
    """An error that nobody foresaw, with the way out."""
    fix = "free space, or give the job a larger volume, and start it again"
    if not is_full(error):
        fix = "see the traceback in the log"
    return f"{type(error).__name__}: {error}\n  way out: {fix}: it goes on from its last checkpoint"


def is_full(error: Exception) -> bool:
    """Whether a write failed for want of space. The libraries' own errors say so in words only, or not at all."""
    full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    words = [os.strerror(code) for code in full] + ["PytorchStreamWriter failed writing file"]
    return getattr(error, "errno", None) in full or any(word in str(error) for word in words)
