"""A test that left `make test` for `make nightly` names the test there that shows its behaviour too; commands and
options that long tests type are typed in `make test` too.
"""

import ast
import re
from collections.abc import Iterator
from typing import Any

import typer

from llmops_kit.cli.cli import app
from tests.support.checkout import CHECKOUT
from tools.security_page import read_tests

FOLDERS = ("tests", "twins/tests")


def named_tests() -> Iterator[tuple[str, str]]:
    """(where, "file::test") of each argument of a `long` marker."""
    for path in (found for folder in FOLDERS for found in sorted((CHECKOUT / folder).rglob("*.py"))):
        if "mark.long(" not in (text := path.read_text()):
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.long":
                where = f"{path.relative_to(CHECKOUT)}:{node.lineno}"
                yield from ((where, ast.literal_eval(argument)) for argument in node.args)


def test_each_test_that_a_long_one_names_runs_in_make_test() -> None:
    short = {f"{test.path}::{test.name}" for test in read_tests(*FOLDERS) if "long" not in test.marks}
    named = list(named_tests())
    assert named
    assert [(where, test) for where, test in named if test.partition("[")[0] not in short] == []


def verbs(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of each command."""
    for name, each in getattr(command, "commands", {}).items():
        yield (*words, name)
        yield from verbs(each, (*words, name))


TYPING = ("tests", "src/llmops_kit/cli/rehearsal")
"""Where commands are typed: tests, and the rehearsal, which `make test` runs on AWS's twin."""
NAMES = {("serve", "--resume")}
"""Steps of a rehearsal whose names are those of commands."""
VERBS = frozenset(verbs(typer.main.get_command(app)))


def typed(node: ast.AST) -> Iterator[tuple[str, str]]:
    """(command, option) of each call or list of words below a node, and of calls of a command's function."""
    for each in ast.walk(node):
        if isinstance(each, ast.Call) and isinstance(each.func, ast.Name) and (each.func.id,) in VERBS:
            yield from ((each.func.id, f"--{key.arg.replace('_', '-')}") for key in each.keywords if key.arg)
        if not isinstance(each, ast.Call | ast.Tuple | ast.List):
            continue
        given = each.args if isinstance(each, ast.Call) else each.elts
        words = [word.value for word in given if isinstance(word, ast.Constant) and isinstance(word.value, str)]
        if verb := next((" ".join(words[:n]) for n in (3, 2, 1) if tuple(words[:n]) in VERBS), ""):
            yield verb, ""
            yield from ((verb, word) for word in words if word.startswith("--"))


def is_long(node: ast.AST) -> bool:
    return any("pytest.mark.long" in ast.unparse(each) for each in getattr(node, "decorator_list", ()))


def test_each_command_and_option_of_a_long_test_is_typed_in_make_test() -> None:
    """`plan --policy` was broken on Azure for days, as only a long test typed it."""
    short, long = set[tuple[str, str]](), dict[tuple[str, str], str]()
    for path in (found for folder in TYPING for found in sorted((CHECKOUT / folder).rglob("*.py"))):
        text = path.read_text()
        whole = re.search(r"^pytestmark = .*mark\.long", text, re.MULTILINE)
        for node in ast.parse(text).body:
            if whole or is_long(node):
                long |= dict.fromkeys(typed(node), str(path.relative_to(CHECKOUT)))
            else:
                short |= {*typed(node)}
    assert long
    assert ("plan", "--policy") in short
    assert {key: path for key, path in long.items() if key not in short and key not in NAMES} == {}
