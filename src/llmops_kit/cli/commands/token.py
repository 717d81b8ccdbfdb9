"""token: credentials of an endpoint for OpenAI clients."""

import shlex
from typing import Annotated

import typer

from llmops_kit.cli.commands import Json
from llmops_kit.cli.commands.endpoint import choose
from llmops_kit.cli.context import Context
from llmops_kit.cli.terminal.tables import print_json

_PANEL = "Endpoints"
_MOST_HOURS = 12


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=_PANEL)(token)


def token(
    context: typer.Context,
    endpoint: Annotated[
        str, typer.Argument(help="Endpoint to use; optional if the stack has only one.", metavar="ENDPOINT")
    ] = "",
    hours: Annotated[
        float, typer.Option(help="Hours until it expires, at most 12 (cloud).", min=0.01, max=_MOST_HOURS)
    ] = 1.0,
    as_json: Json = False,
) -> None:
    """Print base URL and key of an endpoint as the environment variables that OpenAI clients read.

    On AWS the key is a bearer token valid for `--hours`; it ends with the credentials
    of this shell, if they end sooner. On this machine it is the
    endpoint's own key, which does not end. Whoever has it may ask the endpoint.

    eval "$(llmops token chatbot)"
    """
    here: Context = context.obj
    access = here.platform.access(choose(here.platform, endpoint), hours)
    if as_json:
        print_json({"base_url": access.url, "api_key": access.key, "model": access.model})
        return
    print(f"export OPENAI_BASE_URL={shlex.quote(access.url)}\nexport OPENAI_API_KEY={shlex.quote(access.key)}")
