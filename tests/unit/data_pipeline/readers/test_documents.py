"""Text, Markdown and HTML: a file is a row."""

import gzip
from pathlib import Path

import pytest

from llmops_kit.data_pipeline.readers.reader import ReadRow, read

PAGE = """<!doctype html><html><head><title>T</title><script>alert(1)</script></head><body>
<nav><a href="/">Home</a><a href="/shop">Shop</a></nav>
<article><h1>Returns</h1><p>You can return what you bought within thirty days of its delivery, if it is unused and in
its packaging.</p><p>The money comes back to the card that paid, within a week after we have the parcel.</p></article>
<footer>Imprint, cookies</footer></body></html>"""


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.markdown", "A.TXT"])
def test_a_text_is_one_row_with_its_paragraphs(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("# one\n\ntwo\n")
    assert list(read(tmp_path / name, name="f")) == [ReadRow("f:1", {"text": "# one\n\ntwo"})]


def test_html_gives_its_main_text(tmp_path: Path) -> None:
    (tmp_path / "a.html.gz").write_bytes(gzip.compress(PAGE.encode()))
    (row,) = read(tmp_path / "a.html.gz", name="f")
    assert row.row
    text = row.row["text"]
    assert "# Returns" in text
    assert "within thirty days" in text
    assert "after we have the parcel" in text
    assert not any(word in text for word in ("alert", "Shop", "cookies", "<p>"))


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.txt", ""), ("a.txt", " \n\n"), ("a.html", ""), ("a.html", "<html></html>"), ("a.html", "<b>" * 50_000)],
    ids=range(5),
)
def test_nothing_to_read_is_a_fault(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    (row,) = read(tmp_path / name, name="f")
    assert (row.where, row.row) == ("f:1", None)
    assert row.fault
