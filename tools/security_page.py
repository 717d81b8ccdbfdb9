"""Write the tables of docs/security.md from the tests' markers: `python -m tools.security_page`. A test compares.

tools/scorecard.toml names the rows; a test is evidence for one by the marker `vulnerability(number)`,
`scorecard(*rows)` or `cve(*names)`. The tests' source is only read, not run.
"""

import ast
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).parents[1]
PAGE = CHECKOUT / "docs/security.md"
BEGIN, END = "<!-- Written by `python -m tools.security_page`. -->", "<!-- End of what is written. -->"
_TABLES = {"vulnerability": "vulnerabilities", "scorecard": "rows", "cve": "cve"}
"""Marker -> table of tools/scorecard.toml."""
_TITLES = {
    "vulnerabilities": ("### Holes that an attacker found", "hole"),
    "rows": ("### Scorecard", "what holds"),
    "cve": ("### Published vulnerabilities of model servers", "what is absent"),
}
_LISTED = 4
_PROOF = "test_vulnerability_"

Tables = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class Test:
    """A test function in its source."""

    path: Path
    name: str
    marks: Mapping[str, tuple[Any, ...]]
    """Marker -> its arguments, over all its occurrences; of the function, its class and its file."""

    @property
    def condition(self) -> str:
        """Where it runs, if not everywhere; `never` if it is always skipped."""
        if "skip" in self.marks:
            return "never"
        if "long" in self.marks:
            return "by `make nightly` alone"
        if self.path.is_relative_to("tests/engines"):
            return "by `make engines` alone"
        if "docker" in self.marks or "containers" in self.path.parts:
            return "where Docker runs"
        return "where this machine allows it" if "skipif" in self.marks else ""


def main() -> None:
    """Writes the tables into the page; exits with an error if a marker is wrong."""
    tests, tables = list(read_tests("tests", "twins/tests")), read_tables()
    if found := list(problems(tests, tables)):
        sys.exit("\n".join(found))
    PAGE.write_text(with_tables(PAGE.read_text(), render(tests, tables)))


def read_tables() -> Tables:
    """Returns the rows, by table and id."""
    return tomllib.loads((CHECKOUT / "tools/scorecard.toml").read_text())


def read_tests(*folders: str, root: Path = CHECKOUT) -> Iterator[Test]:
    """Yields all test functions below folders of a checkout, by path and line."""
    for path in (found for folder in folders for found in sorted((root / folder).rglob("*.py"))):
        tree = ast.parse(path.read_text())
        yield from _tests_in(tree.body, path.relative_to(root), _marks_of_file(tree))


def problems(tests: Sequence[Test], tables: Tables) -> Iterator[str]:
    """Yields errors of the tests' markers: unknown ids, and tests of a vulnerability whose name and marker differ."""
    for test in tests:
        where = f"{test.path}: {test.name}"
        for mark, table in _TABLES.items():
            for each in test.marks.get(mark, ()):
                if str(each) not in tables[table]:
                    yield f"{where}: {mark}({each!r}) is not in tools/scorecard.toml"
        numbers = {str(each) for each in test.marks.get("vulnerability", ())}
        named = test.name.removeprefix(_PROOF).partition("_")[0] if test.name.startswith(_PROOF) else ""
        if numbers and named not in numbers:
            yield f"{where}: a test of vulnerability {', '.join(sorted(numbers))} is named {_PROOF}<number>_<what>"
        if named and named not in numbers:
            yield f"{where}: it lacks the marker vulnerability({named})"


def render(tests: Sequence[Test], tables: Tables) -> str:
    """Returns the tables as Markdown. The tests of all CVEs together are evidence for the scorecard's row `cve`."""
    named = [test for test in tests if "cve" in test.marks and test.condition != "never"]
    if set(tables["cve"]) <= {name for test in named for name in test.marks["cve"]}:
        row = {"scorecard": ("cve",)}
        tests = [*tests, *(replace(test, marks=row) for test in named)]
    return "\n".join(_table(mark, tables[table], tests) for mark, table in _TABLES.items())


def with_tables(page: str, tables: str) -> str:
    """Returns the page with these tables between its two marks.

    Raises:
        ValueError: it has no marks.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{PAGE.name} has no place for tables: {BEGIN} … {END}")
    return f"{before}{BEGIN}\n\n{tables}\n{END}{after}"


def _table(mark: str, rows: Mapping[str, str], tests: Sequence[Test]) -> str:
    title, what = _TITLES[_TABLES[mark]]
    lines = []
    for id_, text in rows.items():
        found = [test for test in tests if id_ in map(str, test.marks.get(mark, ()))]
        lines.append((id_, text, *_shown(found)))
    held = sum(status == "✓" for _, _, status, _ in lines)
    head = f"{title}\n\n{held} of {len(lines)} are held by a test that runs everywhere.\n\n"
    head += f"| | {what} | held | tests |\n|---|---|---|---|\n"
    return head + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _shown(tests: Sequence[Test]) -> tuple[str, str]:
    """Returns the status of a row, and links to its tests; those that run everywhere first."""
    running = sorted((test for test in tests if test.condition != "never"), key=lambda test: test.condition)
    if not running:
        return "not tested", "skipped: " + _link(tests[0]) if tests else ""
    links = [_link(test) + (f" ({test.condition})" if test.condition else "") for test in running[:_LISTED]]
    more = [f"and {len(running) - _LISTED} more"] if len(running) > _LISTED else []
    return running[0].condition or "✓", ", ".join(links + more)


def _link(test: Test) -> str:
    return f"[{test.name.removeprefix('test_')}](../{test.path.as_posix()})"


def _tests_in(body: Sequence[ast.stmt], path: Path, outer: Mapping[str, tuple[Any, ...]]) -> Iterator[Test]:
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield from _tests_in(node.body, path, _joined(outer, node.decorator_list))
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_"):
            yield Test(path, node.name, _joined(outer, node.decorator_list))


def _marks_of_file(tree: ast.Module) -> dict[str, tuple[Any, ...]]:
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if any(isinstance(each, ast.Name) and each.id == "pytestmark" for each in targets):
            value = node.value if isinstance(node, ast.Assign) else None
            return _joined({}, value.elts if isinstance(value, ast.List | ast.Tuple) else [value] if value else [])
    return {}


def _joined(outer: Mapping[str, tuple[Any, ...]], marks: Sequence[ast.expr]) -> dict[str, tuple[Any, ...]]:
    """Returns marks joined with the outer ones. Arguments of this tool's marks are literals; others' are left out."""
    found = dict(outer)
    for expression in marks:
        call = expression if isinstance(expression, ast.Call) else None
        name = ast.unparse(call.func if call else expression)
        if name.startswith("pytest.mark."):
            mark = name.removeprefix("pytest.mark.")
            given = tuple(ast.literal_eval(each) for each in call.args) if call and mark in _TABLES else ()
            found[mark] = (*found.get(mark, ()), *given)
    return found


if __name__ == "__main__":
    main()
