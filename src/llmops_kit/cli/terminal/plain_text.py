"""Text of models, jobs and servers, made safe for a terminal."""

import re

# C0 but for tab and line feed, DEL and C1 (ECMA-48: all that can begin a control sequence, or end a line); marks and
# overrides of writing direction (Unicode's UAX 9, CVE-2021-42574); other line ends; tags, which nobody sees; and
# surrogates, which no terminal can be sent.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\U000e0000-\U000e007f]"
)


EARLIER = "earlier: "
"""Begins a line of a run that was printed before its last start."""


def printable(text: str) -> str:
    r"""Returns a text with control characters escaped as in JSON, such as `\u001b`.

    Escapes each character by itself, so that a sequence that arrives in several pieces is harmless too.
    """
    return _UNSAFE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4))
