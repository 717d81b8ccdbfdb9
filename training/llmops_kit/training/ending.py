"""The end of a job: its exit code, and the file with the reason of a failure."""

import errno
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

FAILED, DIVERGED, STOPPED = 1, 3, 143  # 143: a shell's exit code after SIGTERM


def report_failure(path: Path, text: str) -> None:
    """Prints why the job failed, and writes it where the platform looks, unless another process of the job did so
    first.
    """
    print(f"error: {text}", file=sys.stderr, flush=True)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x") as file:
            file.write(text + "\n")
    except FileExistsError:
        pass
    except OSError as e:
        print(f"error: {path} can't be written: {e.strerror}", file=sys.stderr, flush=True)


def exit_code(codes: set[int]) -> int:
    """Returns a host's exit code from those of its ranks. The agent stops the other ranks after one failed."""
    if codes <= {STOPPED, DIVERGED, -signal.SIGTERM}:  # the last: a rank that was still importing
        return DIVERGED if DIVERGED in codes else STOPPED
    return FAILED


def ended_without_a_word(host: str, codes: Mapping[int, int]) -> str:
    rank, code = next((r, c) for r, c in sorted(codes.items()) if c not in (STOPPED, DIVERGED))
    how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    return (
        f"rank {rank} on {host}: {how}, without a message\n  fix: check the log, and whether memory ran out; start the "
        "run again: it resumes from its last checkpoint"
    )


def described(error: Exception, may_quantize: bool) -> str:
    """Returns an unexpected error as a message with the fix.

    Args:
        error: what ended the job.
        may_quantize: whether the fix for too little memory names `adapter: qlora`, which the recipe doesn't have yet.
    """
    fix = "see the traceback in the log"
    if is_full(error):
        fix = "free space, or give the job a larger volume, and start it again"
    if is_out_of_memory(error):
        quantize = "set training.adapter: qlora, which keeps weights in 4 bits, " if may_quantize else ""
        fix = (
            f"lower training.batch_size or training.max_tokens in the recipe, {quantize}or take the next larger "
            "machine; with the same recipe"
        )
    return f"{type(error).__name__}: {error}\n  fix: {fix}: it resumes from its last checkpoint"


def is_out_of_memory(error: Exception) -> bool:
    """Returns whether an error means that memory of a GPU or of the machine ran out. On processors, only torch's
    message says so.
    """
    kinds = {kind.__name__ for kind in type(error).__mro__}
    return bool(kinds & {"MemoryError", "OutOfMemoryError"}) or "can't allocate memory" in str(error)


def is_full(error: Exception) -> bool:
    """Returns whether a write failed because the disk is full. Errors of libraries say so only in their messages, if at
    all.
    """
    full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    words = [os.strerror(code) for code in full] + ["PytorchStreamWriter failed writing file"]
    return getattr(error, "errno", None) in full or any(word in str(error) for word in words)
