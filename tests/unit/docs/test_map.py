"""Pages stay what they are for: a short map, ten words, one page a decision, how-to pages without lab notes."""

import re
from pathlib import Path

import pytest

from tests.support.checkout import CHECKOUT

DOCS = CHECKOUT / "docs"
DECISIONS = sorted((DOCS / "decisions").glob("[0-9]*.md"))
INDEX = (DOCS / "decisions/README.md").read_text()
HOW_TO = sorted([*(DOCS / "how-to").glob("*.md"), DOCS / "tutorial.md"])
README = (CHECKOUT / "README.md").read_text()


def section(text: str, heading: str) -> str:
    return text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def rows(text: str) -> list[str]:
    """Returns the first cell of each row of the tables in a text, without their heads."""
    return [
        row
        for table in re.findall(r"^\|.*\|\n\|[-|]+\|\n((?:\|.*\|\n)+)", text, flags=re.MULTILINE)
        for row in re.findall(r"^\| (.*?) \|", table, flags=re.MULTILINE)
    ]


def test_the_map_has_at_most_1500_words_and_a_picture() -> None:
    page = (DOCS / "architecture.md").read_text()
    assert len(page.split()) <= 1500
    assert "```mermaid" in section(page, "The picture")
    assert {"**an endpoint setting**", "**a metric**", "**an engine**"} <= {*rows(section(page, "Where do I"))}


def test_the_glossary_has_at_most_ten_words_and_the_readme_links_it() -> None:
    words = rows((DOCS / "glossary.md").read_text())
    assert 0 < len(words) <= 10
    assert "real, emulated, simulated" in words
    assert "(docs/glossary.md)" in README


def test_the_readme_says_in_five_rows_what_is_verified() -> None:
    verified = section(README, "What is verified")
    assert len(rows(verified)) == 5
    assert "(docs/status.md)" in verified


def test_the_readme_says_why_before_what() -> None:
    first, _, rest = README.partition("\n## ")
    assert re.findall(r"^- \*\*(.*?)\.\*\*", first, flags=re.MULTILINE) == [
        "Rehearsal for free",
        "A gate that counts",
        "Signed versions",
        "Equal bytes",
    ]
    assert rest.startswith("Two commands\n")
    assert README.count("```mermaid") == 1


def test_decisions_are_numbered_from_one_on() -> None:
    assert [int(page.name[:4]) for page in DECISIONS] == [*range(1, len(DECISIONS) + 1)]


@pytest.mark.parametrize("page", DECISIONS, ids=lambda p: p.stem)
def test_a_decision_has_the_parts_of_one_and_a_row_in_the_index(page: Path) -> None:
    text = page.read_text()
    found = re.match(r"# (\d+)\. (.+)\n\nDate: (\d{4}-\d\d-\d\d)[.;]", text)
    assert found, "begins with its number, title and date"
    number, title, date = found.groups()
    headings = re.findall(r"^## (.+)$", text, flags=re.MULTILINE)
    assert headings in (parts := ["Context", "Decision", "Consequences"], [*parts, "Measured"])
    assert f"| [{number}]({page.name}) | {title} | {date} |\n" in INDEX
    assert int(number) == int(page.name[:4])


@pytest.mark.parametrize("page", HOW_TO, ids=lambda p: p.stem)
def test_a_how_to_page_has_no_lab_notes(page: Path) -> None:
    """Benchmarks and the machines on which they ran are in docs/decisions and docs/status.md."""
    assert re.findall(r"\bbench\.\w+|\bXeon\b|\bEPYC\b|\bCPU-seconds?\b", page.read_text()) == []


@pytest.mark.parametrize("page", [*HOW_TO, CHECKOUT / "README.md"], ids=lambda p: p.stem)
def test_what_never_ran_is_listed_on_one_page(page: Path) -> None:
    said = re.findall(
        r"(?i)not (?:yet )?verified|nobody has tried|we had no account|was not tried|was tried\b", page.read_text()
    )
    assert said == [], "say it in docs/status.md, and link it"
