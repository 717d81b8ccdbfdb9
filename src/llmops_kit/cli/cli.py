"""The command `llmops`. Slow imports are left to the command that needs them."""

import errno
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from llmops_kit.cli import former_commands, help_page
from llmops_kit.cli.commands import (
    MARKUP,
    STACK_HELP,
    Verbs,
    bootstrap,
    data,
    endpoint,
    evaluate,
    export,
    images,
    init,
    key_commands,
    machine,
    models,
    plan,
    print_error,
    promotion,
    rehearse,
    run,
    serve,
    smoke,
    stack,
    train,
    twin,
)
from llmops_kit.cli.context import Context
from llmops_kit.core.core_dumps import no_core_files
from llmops_kit.core.errors import KitError

app = Verbs(
    name="llmops",
    rich_markup_mode=MARKUP,
    pretty_exceptions_enable=False,
    add_help_option=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
for part in (
    init,
    train,
    run,
    data,
    models,
    evaluate,
    promotion,
    plan,
    stack,
    images,
    endpoint,
    key_commands,
    serve,
    twin,
    rehearse,
    smoke,
    export,
    bootstrap,
    machine,
):
    part.register(app)
former_commands.register({"": app, "runs": run.runs})


class CommandLineError(KitError):
    """Error for a command line that can't be parsed."""

    exit_code = 2


def _print_version(wanted: bool) -> None:
    """Prints the version before typer requires a command."""
    if wanted:
        from llmops_kit.cli import __version__

        print(__version__)
        raise typer.Exit


def _print_help(wanted: bool) -> None:
    if wanted:
        print(help_page.render())
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context,
    stack: Annotated[str, typer.Option("--stack", "-s", help=STACK_HELP, metavar="NAME")] = "",
    cwd: Annotated[Path, typer.Option("--cwd", help="Run as if started in this folder.", metavar="FOLDER")] = Path(),
    _version: Annotated[
        bool, typer.Option("--version", help="Print the kit's version.", callback=_print_version, is_eager=True)
    ] = False,
    _help: Annotated[
        bool, typer.Option("--help", "-h", help="Show this message.", callback=_print_help, is_eager=True)
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        print(help_page.render())
        raise typer.Exit(2)
    context.obj = Context(stack=stack, cwd=cwd)


def main() -> NoReturn:
    """Run the command line.

    Exit codes are those of `llmops_kit.core.errors.EXIT_CODES`, which docs/reference.md lists, and 130 after
    Ctrl-C.
    """
    no_core_files()
    signal.signal(signal.SIGTERM, _end)
    try:
        _run(as_json="--json" in sys.argv[1:])
    except KitError as e:
        _explain(e)
    except OSError as e:
        if e.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        _explain(
            KitError("the disk is full", where=str(e.filename or ""), fix="free some space, then repeat the command")
        )
    sys.exit(0)


def _run(as_json: bool) -> None:
    """Runs the command. With --json, a command line that can't be parsed is a KitError, which is printed as JSON."""
    if not as_json:
        app()
        return
    try:
        code = app(standalone_mode=False)
    except typer.Abort:
        sys.exit(1)
    except Exception as e:
        if not hasattr(e, "format_message"):  # of typer's errors of usage, whose common class has no public name
            raise
        raise _usage_error(e) from e
    sys.exit(code if isinstance(code, int) else 0)


def _usage_error(error: Any) -> KitError:
    words = error.ctx.command_path if getattr(error, "ctx", None) else "llmops"
    return CommandLineError(error.format_message(), where=words, fix=f"`{words} --help` shows its usage")


def _end(_number: int, _frame: object) -> None:
    sys.exit(128 + signal.SIGTERM)  # an exception, so that temporary files are removed


def _explain(error: KitError) -> NoReturn:
    try:
        print_error(error, as_json="--json" in sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has ended, as `head` does; the interpreter must not flush again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(error.exit_code)
