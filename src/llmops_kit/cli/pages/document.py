"""Renders HTML documents in the style of all reports, in light and dark."""

import re
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path

_STYLE = Path(__file__).with_name("page.css")


def document(title: str, sections: Iterable[str]) -> str:
    """Returns a whole page of HTML sections, without empty ones. It loads no other files, and has no scripts."""
    body = "\n".join(filter(None, sections))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{_STYLE.read_text()}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def figures(values: Mapping[str, str]) -> str:
    """Returns cards with one value each, from name -> value."""
    cells = "".join(f"<div><b>{escape(v)}</b><span class='soft'>{escape(n)}</span></div>" for n, v in values.items())
    return f"<div class='figures'>{cells}</div>"


def bullets(lines: Iterable[str]) -> str:
    """Returns a list of plain texts."""
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def text(words: str) -> str:
    """Returns plain text as HTML, with text between backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(words))


def table(head: Iterable[str], rows: Iterable[str]) -> str:
    """Returns a table of rows, each a `<tr>`."""
    cells = "".join(f"<th>{escape(name)}</th>" for name in head)
    return f"<div class='scroll'><table>\n<tr>{cells}</tr>\n" + "\n".join(rows) + "\n</table></div>"


def duration(seconds: float) -> str:
    """Returns a text such as `2 min 5 s`, or `8.1 s` below a minute."""
    return f"{int(seconds) // 60} min {int(seconds) % 60} s" if seconds >= 60 else f"{seconds:.1f} s"
