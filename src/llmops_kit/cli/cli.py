"""The command `llmops`. Everything that takes long to import is imported by the verb that needs it."""

import errno
import signal
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from llmops_kit.cli.commands import (
    STACK_HELP,
    Verbs,
    bootstrap,
    conformance,
    data,
    endpoint,
    evaluate,
    export,
    images,
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
    sweep,
    token,
    train,
    twin,
)
from llmops_kit.cli.context import Context
from llmops_kit.contract.core_dumps import no_core_files
from llmops_kit.contract.errors import KitError

app = Verbs(
    name="llmops",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    help="""Train, check, sign, deploy and roll back your own language model.

    The whole way on this machine, from a folder with a Pulumi.yaml:

    llmops up                          make store, keys and a place for runs
    llmops train recipes/chatbot.yaml  data, training, evaluation: chatbot@1
    llmops promote chatbot@latest      write it into Pulumi.<stack>.yaml
    llmops up                          deploy what the file says
    llmops chat                        talk to it

    The same on AWS, or on a twin of it that costs nothing: `llmops twin aws`.

    Every verb takes --stack. Without it the stack is $PULUMI_STACK, else
    the only one with a file here, else what `pulumi stack select` chose.
    Results and errors come as JSON with --json.""",
)
for part in (
    train,
    run,
    data,
    models,
    evaluate,
    promotion,
    plan,
    stack,
    sweep,
    images,
    endpoint,
    token,
    serve,
    twin,
    rehearse,
    smoke,
    conformance,
    export,
    bootstrap,
    machine,
):
    part.register(app)


def _print_version(wanted: bool) -> None:
    """Prints the version before typer requires a command."""
    if wanted:
        from llmops_kit.cli import __version__

        print(__version__)
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    stack: Annotated[str, typer.Option("--stack", "-s", help=STACK_HELP, metavar="NAME")] = "",
    cwd: Annotated[Path, typer.Option("--cwd", help="Run as if started in this folder.", metavar="FOLDER")] = Path(),
    _version: Annotated[
        bool, typer.Option("--version", help="Print the kit's version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    context.obj = Context(stack=stack, cwd=cwd)


def main() -> NoReturn:
    """Run the command line.

    Exit codes are those of `llmops_kit.contract.errors.EXIT_CODES`, which docs/reference.md lists, and 130 after
    Ctrl-C.
    """
    no_core_files()
    signal.signal(signal.SIGTERM, _end)
    try:
        app()
    except KitError as e:
        _explain(e)
    except OSError as e:
        if e.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        _explain(
            KitError("the disk is full", where=str(e.filename or ""), fix="free some space, then repeat the command")
        )
    sys.exit(0)


def _end(_number: int, _frame: object) -> None:
    sys.exit(128 + signal.SIGTERM)  # as an exception, so that temporary files go


def _explain(error: KitError) -> NoReturn:
    print_error(error, as_json="--json" in sys.argv[1:])
    sys.exit(error.exit_code)
