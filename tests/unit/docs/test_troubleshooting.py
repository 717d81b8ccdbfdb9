"""The texts on the troubleshooting page stand in the code that raises them."""

import ast
import re
from functools import cache

from tests.support.checkout import CHECKOUT, PACKAGES

PAGE = CHECKOUT / "docs/troubleshooting.md"
OTHERS = "## AWS's own words"


@cache
def strings() -> str:
    """Every string of the code, one a line; a gap in an f-string is `…`."""
    found = []
    for folder in PACKAGES.values():
        for path in folder.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(node.value)
                elif isinstance(node, ast.JoinedStr):
                    found.append("".join(str(v.value) if isinstance(v, ast.Constant) else "…" for v in node.values))
    return "\n".join(found)


def test_texts_stand_in_the_code() -> None:
    page = PAGE.read_text().partition(OTHERS)[0]
    texts = [
        text.strip()
        for cell in re.findall(r"^\| (.*?) \|", page, flags=re.MULTILINE)
        for text in re.findall(r"``? ?(.+?) ?``?(?=,|$)", cell)
    ]
    assert len(texts) > 40
    gap = re.escape("…")
    missing = [t for t in texts if not re.search(gap.join(re.escape(p) for p in t.split("…")), strings())]
    assert missing == []
