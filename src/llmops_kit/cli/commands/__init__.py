"""The subcommands of `llmops`, one module per group. Implementations are imported when a command runs."""

import functools
import inspect
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal

import typer

from llmops_kit.cli.terminal.plain_text import printable
from llmops_kit.core.errors import KitError

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
NothingAsked = Annotated[
    bool, typer.Option("--yes", "-y", help="Accepted for compatibility with Pulumi. Has no effect: nothing is asked.")
]
STACK_HELP = "Stack to use."


MARKUP: Literal["rich"] | None = "rich" if shutil.get_terminal_size().columns >= 80 else None
"""The form of help: in a narrow terminal, rich's tables cut the names of options, while click's lists wrap."""
_KEEP_LINES = "\b\n"
"""Click's mark of a paragraph that is not wrapped."""


class Verbs(typer.Typer):
    """Commands that each take --stack: `llmops up --stack demo` means the same as `llmops --stack demo up`.

    Their help wraps at the terminal's width, wherever the source breaks its lines.
    """

    def __init__(self, **kwargs: Any) -> None:
        if "help" in kwargs:
            kwargs["help"] = unwrapped(kwargs["help"])
        super().__init__(**kwargs)

    def callback(self, *args: Any, **kwargs: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Registers a function as the callback, as typer's own method does, and returns it unchanged."""

        def add(verb: Callable[..., Any]) -> Callable[..., Any]:
            text = unwrapped(kwargs.pop("help", None) or inspect.getdoc(verb) or "")
            return super(Verbs, self).callback(*args, help=text, **kwargs)(verb)

        return add

    def command(self, *args: Any, **kwargs: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Registers a function as a command, as typer's own method does, and returns it unchanged."""

        def add(verb: Callable[..., Any]) -> Callable[..., Any]:
            text = unwrapped(kwargs.pop("help", None) or inspect.getdoc(verb) or "")
            super(Verbs, self).command(*args, help=text, **kwargs)(with_stack(verb))
            return verb

        return add


def unwrapped(text: str) -> str:
    """Returns a help text with each paragraph on one line; examples and indented paragraphs keep their lines.

    typer joins the lines of the first paragraph only. The others would keep the line breaks of the source, which leave
    ragged lines in a terminal that is narrower.
    """
    return "\n\n".join(_unwrapped(paragraph) for paragraph in inspect.cleandoc(text).split("\n\n"))


def _unwrapped(paragraph: str) -> str:
    if paragraph.startswith((" ", "llmops ")):
        return f"{_KEEP_LINES if MARKUP is None else ''}{textwrap.dedent(paragraph)}"
    return " ".join(paragraph.split())


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


def with_stack(verb: Callable[..., Any]) -> Callable[..., Any]:
    """Returns the function with one more parameter, from whose annotation typer makes the option."""

    @functools.wraps(verb)
    def call(*args: Any, stack: str, **kwargs: Any) -> Any:
        del stack  # its callback has set it
        return verb(*args, **kwargs)

    own = inspect.signature(verb, eval_str=True)
    stack = inspect.Parameter("stack", inspect.Parameter.KEYWORD_ONLY, default="", annotation=_Stack)
    call.__signature__ = own.replace(parameters=[*own.parameters.values(), stack])  # type: ignore[attr-defined]
    return call


def _set_stack(context: typer.Context, name: str) -> str:
    if name and not context.resilient_parsing:  # while the shell completes words, there is no Context of ours
        context.obj.stack = name
    return name


_Stack = Annotated[str, typer.Option("--stack", "-s", help=STACK_HELP, metavar="NAME", callback=_set_stack)]
