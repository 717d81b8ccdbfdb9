"""docs/security.md says what the tests' markers say, and the markers name rows that there are."""

from pathlib import Path

import pytest

from tools import security_page as page

TABLES = {
    "vulnerabilities": {"1": "keys that escape", "2": "a boundary that is left"},
    "rows": {"drift": "drift is found", "nan": "a loss that is not a number ends the run", "cve": "all lines"},
    "cve": {"pickle": "no pickle", "archives": "no escape"},
}


@pytest.fixture(scope="module")
def tests() -> list[page.Test]:
    return list(page.read_tests("tests", "twins/tests"))


def read_from(folder: Path, **files: str) -> list[page.Test]:
    for name, text in files.items():
        path = folder / "tests" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"import pytest\n\n{text}")
    return list(page.read_tests("tests", root=folder))


def test_the_page_is_what_the_markers_say(tests: list[page.Test]) -> None:
    text = page.PAGE.read_text()
    assert page.with_tables(text, page.render(tests, page.read_tables())) == text, "`python -m tools.security_page`"


def test_every_marker_names_a_row_and_every_proof_its_hole(tests: list[page.Test]) -> None:
    assert list(page.problems(tests, page.read_tables())) == []


def test_a_row_that_no_test_shows_is_not_tested(tmp_path: Path) -> None:
    tests = read_from(tmp_path, test_a="@pytest.mark.scorecard('drift')\ndef test_found(): ...\n")
    text = page.render(tests, TABLES)
    assert "| drift | drift is found | ✓ | [found](../tests/test_a.py) |" in text
    assert "| nan | a loss that is not a number ends the run | not tested |  |" in text
    assert "1 of 3 are held" in text


def test_the_row_of_published_vulnerabilities_holds_when_all_its_lines_do(tmp_path: Path) -> None:
    one, other = (f"@pytest.mark.cve('{name}')\ndef test_{name}(): ...\n" for name in ("pickle", "archives"))
    assert "| cve | all lines | not tested |  |" in page.render(read_from(tmp_path, test_a=one), TABLES)
    both = page.render(read_from(tmp_path, test_a=one, test_b=other), TABLES)
    assert "| cve | all lines | ✓ | [pickle](../tests/test_a.py), [archives](../tests/test_b.py) |" in both


def test_marks_come_from_class_and_file_too(tmp_path: Path) -> None:
    text = (
        "pytestmark = [pytest.mark.scorecard('nan')]\n\n"
        "@pytest.mark.cve('pickle')\nclass TestX:\n    async def test_vulnerability_2_y(self): ...\n"
    )
    (test,) = read_from(tmp_path, test_b=text)
    assert test.marks == {"scorecard": ("nan",), "cve": ("pickle",)}
    assert list(page.problems([test], TABLES)) == [
        "tests/test_b.py: test_vulnerability_2_y: it lacks the marker vulnerability(2)"
    ]


@pytest.mark.parametrize(
    ("marks", "file", "status"),
    [
        ("@pytest.mark.long", "test_c", "by `make nightly` alone"),
        ("@pytest.mark.docker", "test_c", "where Docker runs"),
        ("", "containers/test_c", "where Docker runs"),
        ("", "engines/test_c", "by `make engines` alone"),
        ("@pytest.mark.skipif(1 > 2, reason='x')", "test_c", "where this machine allows it"),
        ("@pytest.mark.skip(reason='x')", "test_c", "not tested"),
    ],
)
def test_a_row_does_not_claim_a_test_that_runs_elsewhere(marks: str, file: str, status: str, tmp_path: Path) -> None:
    tests = read_from(tmp_path, **{file: f"{marks}\n@pytest.mark.scorecard('nan')\ndef test_x(): ...\n"})
    assert f"| nan | a loss that is not a number ends the run | {status} | " in page.render(tests, TABLES)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("@pytest.mark.scorecard('drfit')\ndef test_x(): ...\n", "scorecard('drfit') is not in"),
        ("@pytest.mark.vulnerability(7)\ndef test_vulnerability_7_x(): ...\n", "vulnerability(7) is not in"),
        ("@pytest.mark.vulnerability(1)\ndef test_x(): ...\n", "is named test_vulnerability_<number>_<what>"),
        ("@pytest.mark.vulnerability(1)\ndef test_vulnerability_2_x(): ...\n", "lacks the marker vulnerability(2)"),
    ],
)
def test_a_wrong_marker_is_told(text: str, words: str, tmp_path: Path) -> None:
    assert words in "\n".join(page.problems(read_from(tmp_path, test_d=text), TABLES))


def test_a_page_without_a_place_for_tables_is_refused() -> None:
    with pytest.raises(ValueError, match="no place for tables"):
        page.with_tables("# Security\n", "| |")
