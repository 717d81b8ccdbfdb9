"""The subcommands of `llmops`, one module per group. Implementations are imported when a command runs."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from contract.errors import KitError
from llmops.terminal.plain_text import printable

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@contextmanager
def progress_on_stderr(as_json: bool) -> Iterator[None]:
    """With --json, redirect output of the `with` block to standard error, including output of child processes."""
    if not as_json:
        yield
        return
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def print_error(error: KitError, as_json: bool = False) -> None:
    """Print an error with its place and its fix: text on standard error, or JSON on standard output.

    JSON goes where the verb's own JSON would have gone: `{"error": {"what": …, "where": …, "fix": …}}`.
    """
    if as_json:
        print(json.dumps({"error": {"what": error.what, "where": error.where, "fix": error.fix}}, indent=2))
        return
    # https://no-color.org: set and not empty.
    colours = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    red, dim, end = ("\033[31;1m", "\033[2m", "\033[0m") if colours else ("", "", "")
    lines = [f"{red}error:{end} {printable(error.what)}"]
    if error.where:
        lines.append(f"  {dim}where:{end} {printable(error.where)}")
    if error.fix:
        lines.append(f"  {dim}fix:{end} {printable(error.fix)}")
    print("\n".join(lines), file=sys.stderr)
