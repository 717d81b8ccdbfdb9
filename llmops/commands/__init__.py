"""The verbs of `llmops`, a module for each group of them. Light: what a verb does is imported when it is called."""

import sys
from typing import Annotated

import typer

from contract.errors import KitError
from llmops.terminal import printable

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def print_error(error: KitError) -> None:
    """On standard error: what, where, and the way out."""
    colours = sys.stderr.isatty()
    red, dim, end = ("\033[31;1m", "\033[2m", "\033[0m") if colours else ("", "", "")
    lines = [f"{red}error:{end} {printable(error.what)}"]
    if error.where:
        lines.append(f"  {dim}where:{end} {printable(error.where)}")
    if error.fix:
        lines.append(f"  {dim}way out:{end} {printable(error.fix)}")
    print("\n".join(lines), file=sys.stderr)
