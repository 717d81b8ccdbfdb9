"""chat, invoke, logs: send requests to an endpoint and read its logs."""

import json
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmops_kit.cli.commands import Json, print_error
from llmops_kit.cli.context import Context
from llmops_kit.cli.terminal.plain_text import printable
from llmops_kit.cli.terminal.tables import print_json
from llmops_kit.core.errors import BusyError, KitError

if TYPE_CHECKING:
    from llmops_kit.cli.interfaces.platform import Platform

_Name = Annotated[str, typer.Argument(help="Endpoint to use; optional if the stack has only one.", metavar="ENDPOINT")]
_Tokens = Annotated[int, typer.Option(help="Maximum tokens of an answer; 0: the model's default.", min=0)]
_PATIENCE_SECONDS = 60.0
_PAUSE_SECONDS = 1.0
_HELP = "Type a message and press Enter. /new starts over, /quit or Ctrl-D ends, Ctrl-C stops an answer."


def register(app: typer.Typer) -> None:
    app.command()(chat)
    app.command()(invoke)
    app.command()(logs)


def chat(
    context: typer.Context,
    endpoint: _Name = "",
    system: Annotated[str, typer.Option(help="System message. Default: the model's own.")] = "",
    max_tokens: _Tokens = 0,
) -> None:
    """Chat with an endpoint in the terminal; answers are streamed.

    Type a message and press Enter. /new starts over, /quit or Ctrl-D ends, Ctrl-C stops an answer.
    """
    here: Context = context.obj
    name = choose(here.platform, endpoint)
    first = [{"role": "system", "content": system}] if system else []
    messages = list(first)
    terminal = sys.stdin.isatty()
    if terminal:
        import readline  # noqa: F401  (editing and history for input)

        print(f"{name} serves {here.platform.outputs.endpoints[name].model.partition('@sha256')[0]}. {_HELP}\n")
    while (line := _read("> " if terminal else "")) is not None:
        if line in ("/quit", "/exit"):
            break
        if line == "/new":
            messages = list(first)
        elif line:
            asked = [*messages, {"role": "user", "content": line}]
            try:
                text = _answer(here.platform, name, asked, max_tokens, terminal)
            except KitError as e:
                if not terminal:
                    raise
                print_error(e)  # the conversation continues without this question
            else:  # a question stopped before the first word of its answer is dropped
                messages = [*asked, {"role": "assistant", "content": text}] if text else messages


def _read(prompt: str) -> str | None:
    """Read a line; None at the end of the input. Ctrl-C at the prompt ends the command."""
    try:
        return input(prompt).strip()
    except EOFError:
        return None


def _answer(
    platform: "Platform", endpoint: str, messages: list[dict[str, str]], max_tokens: int, terminal: bool
) -> str:
    """Stream an answer to the terminal; Ctrl-C also stops it on the server."""
    request: dict[str, Any] = {"messages": messages, "stream": True}
    text, count, start = "", 0, time.monotonic()
    with closing(_ask(platform, endpoint, request | _limit(max_tokens))) as chunks:
        try:
            for piece in _pieces(chunks):
                print(printable(piece), end="", flush=True)
                text += piece
                count += 1
        except KeyboardInterrupt:
            print(" [stopped]", end="")
    seconds = time.monotonic() - start
    print(f"\n\033[2m{count / seconds:.0f} tokens/s\033[0m\n" if terminal and count > 1 else "")
    return text


def _ask(platform: "Platform", endpoint: str, request: dict[str, Any]) -> Generator[dict[str, Any], None, None]:
    """Send a request; retry for a minute while the endpoint is busy or restarting.

    Raises:
        KitError: as the platform's.
    """
    deadline, said = time.monotonic() + _PATIENCE_SECONDS, ""
    while True:
        try:
            yield from platform.invoke(endpoint, request)
            return
        except BusyError as e:
            if time.monotonic() > deadline:
                raise
            if said != e.what:
                said = e.what
                print(printable(f"{endpoint} {said}; trying again for a minute"), file=sys.stderr)
        time.sleep(_PAUSE_SECONDS)


def _pieces(chunks: Iterator[dict[str, Any]]) -> Iterator[str]:
    for chunk in chunks:
        for choice in chunk.get("choices", []):
            if piece := (choice.get("delta") or {}).get("content"):
                yield piece


def invoke(
    context: typer.Context,
    words: Annotated[list[str], typer.Argument(help="Endpoint (if the stack has several) and question.")],
    max_tokens: _Tokens = 0,
    tools: Annotated[
        Path | None, typer.Option(help="Recipe whose `page.tools` the model may call.", metavar="RECIPE")
    ] = None,
    as_json: Json = False,
) -> None:
    """Send one question to an endpoint and print the answer.

    `-` reads the question from standard input. Tool calls are printed, not executed.

    llmops invoke "What does promote do?"
    llmops invoke chatbot "What does promote do?" --json
    llmops invoke assistant "Is it cold in Oslo?" --tools recipes/assistant.yaml
    """
    here: Context = context.obj
    if len(words) > 2:
        raise typer.BadParameter("give one question, in quotes", param_hint="QUESTION")
    name = choose(here.platform, words[0] if len(words) == 2 else "")
    question = sys.stdin.read() if words[-1] == "-" else words[-1]
    request: dict[str, Any] = {"messages": [{"role": "user", "content": question}]}
    offered = {"tools": _tools_of(here.cwd / tools)} if tools else {}
    answer = next(_ask(here.platform, name, request | offered | _limit(max_tokens)))
    if as_json:
        print_json(answer)
        return
    message = answer["choices"][0]["message"]
    calls = [f"{each['function']['name']} {each['function']['arguments']}" for each in message.get("tool_calls") or ()]
    print(printable("\n".join(filter(None, (message["content"], *calls)))))


def logs(
    context: typer.Context,
    endpoint: _Name = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Print new lines as they arrive.")] = False,
    as_json: Json = False,
) -> None:
    """Print the logs of an endpoint's servers and router.

    With --json, each line is a JSON object: the server's own, or `{"line": TEXT}`.
    """
    here: Context = context.obj
    for line in here.platform.logs(choose(here.platform, endpoint), follow):
        text = line.rstrip("\n")
        print(printable(_json_line(text) if as_json else text), flush=follow)


def _json_line(text: str) -> str:
    """Return a line of a log as a JSON object on one line."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    return json.dumps(found if isinstance(found, dict) else {"line": text}, ensure_ascii=False)


def _tools_of(path: Path) -> list[dict[str, Any]]:
    from llmops_kit.cli.runs.runs import parse_recipe

    tools = parse_recipe(path).page.tools
    if not tools:
        raise KitError("has no tools", where=f"{path}: page.tools", fix="list tools there, in OpenAI's format")
    return tools


def _limit(max_tokens: int) -> dict[str, int]:
    return {"max_tokens": max_tokens} if max_tokens else {}


def choose(platform: "Platform", endpoint: str) -> str:
    """Return the named endpoint, or the only one."""
    names = list(platform.outputs.endpoints)
    if endpoint or len(names) == 1:
        return endpoint or names[0]
    if not names:
        raise KitError(
            "the stack has no endpoint",
            where=f"stack {platform.outputs.stack}",
            fix="`llmops promote NAME@N && llmops up` creates one",
        )
    raise KitError(f"which endpoint? There are {', '.join(names)}", fix=f"write its name first: `… {names[0]} …`")
