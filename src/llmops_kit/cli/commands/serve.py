"""serve: serve a model on this machine, with the chat page, until Ctrl-C."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmops_kit.cli.commands import Json
from llmops_kit.cli.context import Context, say
from llmops_kit.cli.terminal.plain_text import printable
from llmops_kit.cli.terminal.tables import print_json
from llmops_kit.core.engines.records import EngineChoice

if TYPE_CHECKING:
    from llmops_kit.cli.evaluation.models import StoredModel
    from llmops_kit.cli.local_server import LocalAccess


def register(app: typer.Typer) -> None:
    app.command()(serve)


def serve(
    context: typer.Context,
    model: Annotated[
        str, typer.Argument(help="NAME@N in the stack's store, or a Hugging Face folder.", metavar="MODEL")
    ],
    against: Annotated[
        str, typer.Option(help="Second model, whose answers the chat page shows beside those of the first.")
    ] = "",
    port: Annotated[int, typer.Option(help="Port on this machine; 0: a free one.", min=0, max=65535)] = 0,
    engine: Annotated[EngineChoice, typer.Option(help="auto: vllm with an NVIDIA GPU, else openvino.")] = "auto",
    open_page: Annotated[bool, typer.Option("--open", help="Open the chat page in the browser.")] = False,
    as_json: Json = False,
) -> None:
    """Serve a model on this machine, with the API and the chat page, until Ctrl-C.

    A folder needs no stack. It is checked, converted, and served from a copy that is removed at
    the end. Pickles and models that ship code are rejected.

    llmops serve ./model
    llmops serve chatbot@3 --against chatbot@2 --open
    """
    import os

    from llmops_kit.cli.local_server import on_hang_up, require_port, temporary_home, wait
    from llmops_kit.cli.local_server import serve as start

    here: Context = context.obj
    require_port(port)
    models = [_find(here, text) for text in (model, against) if text]
    stored = any(not isinstance(each, Path) for each in models)
    key = here.platform.outputs.signing.public_key if stored else ""
    on_hang_up(lambda: sys.exit(129))
    try:
        with temporary_home() as home:
            access = start(models, home, engine=engine, port=port, public_key=key, environ=os.environ, say=say)
            _print_access(access, as_json)
            if open_page:
                import webbrowser

                webbrowser.open(access.page)
            wait(home)
    except KeyboardInterrupt:
        say("stopped; all processes have ended and temporary files are removed")


def _find(here: Context, text: str) -> "StoredModel | Path":
    from llmops_kit.cli.evaluation.models import stored_model
    from llmops_kit.cli.local_server import require_model

    if "@" in text and "/" not in text:
        return stored_model(here.platform, here.platform.store().find(text))
    path = (here.cwd / Path(text).expanduser()).resolve()
    require_model(path)
    return path


def _print_access(access: "LocalAccess", as_json: bool) -> None:
    if as_json:
        print_json({"url": f"{access.url}/v1", "key": access.key, "page": access.page, "models": access.models})
        sys.stdout.flush()
        return
    body = '{"messages": [{"role": "user", "content": "Hello"}]}'
    curl = ["curl", f"{access.url}/v1/chat/completions", "-H", f"Authorization: Bearer {access.key}"]
    curl += ["-H", "Content-Type: application/json", "-d", body]
    lines = [f"{' and '.join(access.models)} served until Ctrl-C", f"Chat page:  {access.page}"]
    lines += [f"API:        {access.url}/v1   key: {access.key}", shlex.join(curl)]
    print(printable("\n".join(lines)), flush=True)
