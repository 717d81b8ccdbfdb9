"""Functions are short: the median of the product's has 8 lines at most, and none more than 60, docstrings included.
Folders have 22 modules at most.
"""

import re
import statistics
from collections import Counter
from collections.abc import Iterator

from tests.support.checkout import CHECKOUT
from tests.unit.test_class_names import ROOMS

LONGEST, MEDIAN, MODULES = 60, 8, 22
_DEF = re.compile(r"( *)(?:async )?def (\w+)")


def functions(text: str) -> Iterator[tuple[str, int]]:
    """Names and lines of the functions of a formatted module: each ends before the next line that is not indented
    further, but for the end of its signature.
    """
    lines = text.splitlines()
    open_: list[tuple[int, str, int]] = []
    last = 0
    for number, line in enumerate([*lines, "end"]):
        if not line.strip():
            continue
        indent = len(line) - len(line.lstrip(" "))
        while open_ and indent <= open_[-1][0] and not line.lstrip().startswith(")"):
            _, name, first = open_.pop()
            yield name, last - first + 1
        if found := _DEF.match(line):
            open_.append((indent, found[2], number))
        last = number


def test_functions_are_short() -> None:
    files = [path for room in [*ROOMS, "tools"] for path in (CHECKOUT / room).rglob("*.py")]
    found = [(lines, name, path) for path in files for name, lines in functions(path.read_text())]
    assert [(name, path.name, lines) for lines, name, path in found if lines > LONGEST] == []
    assert statistics.median(lines for lines, _, path in found if "tests" not in path.parts) <= MEDIAN


def test_folders_are_small() -> None:
    files = [path for room in [*ROOMS, "tools", "tests"] for path in (CHECKOUT / room).rglob("*.py")]
    counts = Counter(path.parent for path in files if path.name != "__init__.py")
    assert {str(folder): count for folder, count in counts.items() if count > MODULES} == {}


def test_the_lines_of_functions_are_counted() -> None:
    text = """\
def a(
    x: int,
) -> int:

    def b():
        return 1

    return x


class C:
    def d(self): ...
"""
    assert list(functions(text)) == [("b", 2), ("a", 8), ("d", 1)]
