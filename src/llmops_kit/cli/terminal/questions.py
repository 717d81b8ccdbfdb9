"""Questions to whoever sits at the terminal."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer


def ask(text: str, default: str | None = None) -> str:
    """Asks for a line on standard error, and returns the answer.

    Raises:
        KeyboardInterrupt: Ctrl-C.
        typer.Abort: standard input has ended.
    """
    with _interruptible():
        return typer.prompt(text, default=default, err=True)


def confirm(text: str, *, abort: bool = False) -> bool:
    """Asks for yes or no, and returns whether it was yes.

    Raises:
        KeyboardInterrupt: Ctrl-C.
        typer.Abort: standard input has ended; or the answer was no, and `abort` was set.
    """
    with _interruptible():
        return typer.confirm(text, abort=abort)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Turns the Abort that typer makes of Ctrl-C back: its exit code is 1, and Ctrl-C's is 130 everywhere else."""
    try:
        yield
    except typer.Abort as e:
        if isinstance(e.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
