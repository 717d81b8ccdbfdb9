"""A test that left `make test` for `make nightly` names the test there that shows its behaviour too."""

import ast
from collections.abc import Iterator

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
