"""Every `llmops …` and `make …` that the pages and the chatbot's data show exists, with its options."""

import json
import re
from collections.abc import Iterator
from functools import cache

import pytest
import typer
from typer.core import TyperGroup

from llmops_kit.cli.cli import app
from llmops_kit.cli.former_commands import FORMER
from tests.support.checkout import CHECKOUT

PAGES = sorted(
    page
    for each in ("*", "docs/**/*", "recipes/**/*", "twins/*", "twins/docs/*")
    for page in CHECKOUT.glob(f"{each}.md")
)
GLOBAL = {"--stack", "--cwd", "--version", "--help"}


def code(text: str) -> Iterator[str]:
    """Lines of code blocks, and code between backticks."""
    blocks = re.compile(r"^```(?:bash|console|mermaid)\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)
    for block in blocks.findall(text):
        yield from block.splitlines()
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    yield from (" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose))


def commands(lines: Iterator[str]) -> Iterator[list[str]]:
    """The words of each call of llmops, up to the end of the call."""
    for line in lines:
        for call in re.findall(r"(?:^|[\s|(])llmops ((?:[^&|;#)]|\"[^\"]*\")+)", line):
            yield re.sub(r"\"[^\"]*\"", "TEXT", call).split()


command_line = cache(lambda: typer.main.get_command(app))
"""The command line; making it takes 20 ms."""


def problem(words: list[str]) -> str:
    """What is wrong with a call; empty when nothing is."""
    if set(words) <= GLOBAL:
        return ""
    command, path, known = command_line(), [], set(GLOBAL)
    names = iter(words)
    while isinstance(command, TyperGroup):
        known |= {o for p in command.params for o in p.opts}
        name = _next_command(command, names)
        if not name:
            break  # a group of verbs, as a whole
        path.append(name)
        if name not in command.commands or " ".join(path) in FORMER:
            return f"no command {name!r}"
        command = command.commands[name]  # pyright: ignore[reportAssignmentType]
    shown = [p for p in command.params if not getattr(p, "hidden", False)]
    known |= {o for p in shown for o in (*p.opts, *p.secondary_opts)}
    unknown = [w.partition("=")[0] for w in words if w.startswith("--") and w.partition("=")[0] not in known]
    return f"no option {unknown[0]}" if unknown else ""


def _next_command(group: TyperGroup, words: Iterator[str]) -> str:
    """Returns the next word that is neither an option of the group nor its value; empty: there is none."""
    values = {o for p in group.params if not getattr(p, "is_flag", False) for o in p.opts} | {"--stack", "--cwd"}
    for word in words:
        if word in values:
            next(words, "")
        elif not word.startswith("-"):
            return word
    return ""


@cache
def pages() -> dict[str, str]:
    """Name -> text; of the data, its answers."""
    rows = (CHECKOUT / "recipes/chatbot/facts.jsonl").read_text().splitlines()
    answers = "\n".join(json.loads(row)["messages"][1]["content"] for row in rows)
    return {p.relative_to(CHECKOUT).as_posix(): p.read_text() for p in PAGES} | {"facts.jsonl": answers}


@pytest.mark.parametrize("page", pages())
def test_commands_and_options_exist(page: str) -> None:
    wrong = {" ".join(words): problem(words) for words in commands(code(pages()[page])) if words[0] not in ("…", "|")}
    assert {words: why for words, why in wrong.items() if why} == {}


@pytest.mark.parametrize("page", pages())
def test_make_targets_exist(page: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (CHECKOUT / "Makefile").read_text(), flags=re.MULTILINE))
    asked = {t for line in code(pages()[page]) for t in re.findall(r"\bmake ([a-z][a-z-]*)", line)}
    assert asked <= targets


def test_a_wrong_command_is_noticed() -> None:
    assert problem(["modles", "list"]) == "no command 'modles'"
    assert problem(["rehearse", "aws", "--live"]) == "no option --live"
    assert problem(["token", "chatbot"]) == "no command 'token'"
    assert problem(["models", "copy", "--onto", "x"]) == "no option --onto"
    assert problem(["--stack", "demo", "up"]) == ""
    assert problem(["plan", "--tokens-per-second", "400", "--stack", "demo"]) == ""
    assert problem(["plan", "prices", "show", "--regions"]) == "no option --regions"
    assert problem(["plan", "--polices"]) == "no option --polices"
    assert problem(["bootstrap"]) == ""
