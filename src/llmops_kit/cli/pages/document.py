"""An HTML document with the style of every report, in light and dark."""

import re
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path

_STYLE = Path(__file__).with_name("page.css")


def document(title: str, sections: Iterable[str]) -> str:
    """A whole page of its sections, which are HTML; empty ones are left out. It loads and runs nothing."""
    body = "\n".join(filter(None, sections))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{_STYLE.read_text()}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def figures(values: Mapping[str, str]) -> str:
    """Cards with a figure each: name -> value."""
    cells = "".join(f"<div><b>{escape(v)}</b><span class='soft'>{escape(n)}</span></div>" for n, v in values.items())
    return f"<div class='figures'>{cells}</div>"


def bullets(lines: Iterable[str]) -> str:
    """A list of plain texts."""
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def text(words: str) -> str:
    """Plain text as HTML, with what stands between backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(words))


def table(head: Iterable[str], rows: Iterable[str]) -> str:
    """A table of rows, each a `<tr>`."""
    cells = "".join(f"<th>{escape(name)}</th>" for name in head)
    return f"<div class='scroll'><table>\n<tr>{cells}</tr>\n" + "\n".join(rows) + "\n</table></div>"


def duration(seconds: float) -> str:
    """`2 min 5 s`, or `8.1 s` below a minute."""
    return f"{int(seconds) // 60} min {int(seconds) % 60} s" if seconds >= 60 else f"{seconds:.1f} s"
