"""Reads text, Markdown and HTML: a file is one row with `text`. Blank lines separate paragraphs, not documents."""

from collections.abc import Iterator

from llmops_kit.core.errors import DataError, require_packages
from llmops_kit.data_pipeline.readers.reader import DataFile, ReadRow
from llmops_kit.data_pipeline.readers.texts import read_whole

_MOST_HTML = 16 << 20  # characters


def read_text(file: DataFile) -> Iterator[ReadRow]:
    """Yields a plain text unchanged as one row; an empty file is a fault."""
    text = read_whole(file)
    yield _row(file, text if text.strip() else "", "is empty")


def read_html(file: DataFile) -> Iterator[ReadRow]:
    """Yields the main text as Markdown, found by trafilatura: without navigation, adverts and comments."""
    require_packages("data", "trafilatura")
    import trafilatura

    text = read_whole(file, _MOST_HTML)
    try:
        found = trafilatura.extract(text, output_format="markdown", include_comments=False) if text.strip() else ""
    except (ValueError, RecursionError) as e:  # of lxml
        yield _row(file, "", f"can't be parsed: {e}")
        return
    yield _row(file, found or "", "holds no main text")


def _row(file: DataFile, text: str, why_none: str) -> ReadRow:
    where = f"{file.name}:1"
    if text:
        return ReadRow(where, {"text": text})
    return ReadRow(where, None, DataError(why_none, where=where, fix="leave the file out of the source's glob"))
