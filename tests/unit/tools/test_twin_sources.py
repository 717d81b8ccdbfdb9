"""Every refusal of a twin names its source, and docs/twin-confidence.md says what the marks say."""

from pathlib import Path

import pytest

from tools import twin_sources as page
from tools.twin_sources import Mark, read_file

RAISES = 'def put(call):\n    {0}\n    raise ArmError(409, "Conflict", "taken")\n'


@pytest.fixture(scope="module")
def sources() -> dict[str, page.Source]:
    return {cloud: page.read(cloud) for cloud in page.CLOUDS}


def test_every_refusal_names_a_source_and_every_mark_is_well_formed(sources: dict[str, page.Source]) -> None:
    assert [each for source in sources.values() for each in page.problems(source)] == []


def test_the_page_is_what_the_marks_say(sources: dict[str, page.Source]) -> None:
    text = page.PAGE.read_text()
    assert page.with_tables(text, page.render(sources)) == text, "`python -m tools.twin_sources`"
    assert all(len(source.refusals) > 300 for source in sources.values())


def found(text: str) -> page.Refusal:
    (refusal,) = read_file(text, Path("twins/llmops_twins/azure/x.py")).refusals
    return refusal


def test_a_refusal_without_a_source_is_found() -> None:
    source = read_file(RAISES.format("# it is taken"), Path("twins/llmops_twins/azure/x.py"))
    assert list(page.problems(source)) == ["twins/llmops_twins/azure/x.py:3: Conflict in put names no source"]


@pytest.mark.parametrize(
    "text",
    [
        RAISES.format('"""https://a.example/b."""'),
        RAISES.format("# see https://a.example/b."),
        '"""What is put.\n\nhttps://a.example/b\n"""\n\n' + RAISES.format("pass"),
        "def install(twin):\n    '''As https://a.example/b, has it.'''\n\n" + RAISES.format("pass"),
    ],
)
def test_a_source_is_in_the_function_or_in_the_docstring_of_its_file(text: str) -> None:
    assert found(text).links == ("https://a.example/b",)


def test_what_is_nearest_counts() -> None:
    text = '"""https://a.example/far"""\n\n' + RAISES.format("# https://a.example/near")
    assert found(text).links == ("https://a.example/near",)
    whole = '"""https://a.example/far\n\nUnsure (20 %): all of it.\n"""\n\n'
    assert found(whole + RAISES.format("pass")).mark == Mark(20, "all of it")
    assert found(whole + RAISES.format("# unsure (60 %): why")).mark == Mark(60, "why")
    assert found(whole + RAISES.format("# as in https://a.example/near")).mark is None


def test_a_mark_holds_for_the_next_refusal_and_a_docstrings_for_all() -> None:
    marked = "    # unsure (60 %): the words\n    # are assumed.\n"
    two = (
        'def put(call):\n    """https://a.example/b"""\n'
        + marked
        + '    raise AwsApiError("One")\n    raise AwsApiError("Two")\n'
    )
    one, other = read_file(two, Path("x.py")).refusals
    assert (one.code, one.mark, other.code, other.mark) == ("One", Mark(60, "the words are assumed"), "Two", None)
    text = RAISES.format(
        '"""Refuse.\n\n    Unsure (45 %): nobody\n    says so.\n\n    Raises:\n        ArmError: 409.\n    """'
    )
    assert found(text).mark == Mark(45, "nobody says so")


@pytest.mark.parametrize("said", ["# the twin's own: it has no disk", "# nothing"])
def test_what_is_the_twins_own(said: str) -> None:
    text = RAISES.format(said).replace('"taken"', '"taken"' if "own" in said else 'f"{call}: this twin has no disk"')
    mark = found(text).mark
    assert mark is not None
    assert mark.percent is None


def test_words_that_were_assigned_before_are_read() -> None:
    text = RAISES.format('message = "This twin has none."').replace('"taken"', "message")
    assert found(text).mark == Mark(None, "its words say so: This twin has none.")


@pytest.mark.parametrize(
    "said", ["# unsure (85 %): nearly", "# unsure (half): why", "# unsure (60 %)", "# Unsure (60%): why"]
)
def test_a_mark_that_is_not_well_formed_is_found(said: str) -> None:
    source = read_file('"""https://a.example/b"""\n\n' + RAISES.format(said), Path("twins/llmops_twins/azure/x.py"))
    assert [each for each in page.problems(source) if "well formed" in each]


def test_a_mark_without_a_refusal_is_found() -> None:
    source = read_file(
        "def put(call):\n    # unsure (60 %): why\n    return 1\n", Path("twins/llmops_twins/azure/x.py")
    )
    assert [each for each in page.problems(source) if "no refusal follows" in each]


def test_the_tables() -> None:
    marked = '"""https://a.example/b"""\n\n' + RAISES.format("# unsure (60 %): a | b")
    text = page.render({"azure": read_file(marked, Path("twins/llmops_twins/azure/services/x.py"))})
    assert "| 60 % | `Conflict` | [services/x.py](../twins/llmops_twins/azure/services/x.py) `put` | a \\| b |" in text
    assert "| [services/x.py](../twins/llmops_twins/azure/services/x.py) | 1 | <https://a.example/b> |" in text
    assert "Azure: 1 of 1 refusals are uncertain" in text
