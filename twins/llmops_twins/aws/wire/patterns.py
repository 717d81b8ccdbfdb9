r"""Compiles the patterns of AWS's models, which use Java's syntax, for the `regex` package.

Differences, from Java's documentation: `\w`, `\d`, `\s` and the POSIX classes (`\p{Alnum}`) cover ASCII only, `[…]` may
contain other classes and `&&`, and a character beyond U+FFFF is written as two.
https://docs.oracle.com/en/java/javase/21/docs/api/java.base/java/util/regex/Pattern.html
"""

from functools import cache

import regex

_POSIX = {
    "Lower": "a-z",
    "Upper": "A-Z",
    "Alpha": "a-zA-Z",
    "Digit": "0-9",
    "Alnum": "a-zA-Z0-9",
    "Punct": r"!-\/\:-@\[-`\{-~",
    "Graph": "!-~",
    "Print": r"\x20-~",
    "Blank": r"\x20\t",
    "Cntrl": r"\x00-\x1f\x7f",
    "XDigit": "0-9a-fA-F",
    "Space": r"\x20\t\n\x0b\f\r",
    "ASCII": r"\x00-\x7f",
}
_CLASSES = {"d": _POSIX["Digit"], "s": _POSIX["Space"], "w": "a-zA-Z_0-9"}
_PROPERTIES = {"LD": r"\p{L}\p{Nd}", "all": r"\s\S"}
_ANY = r"[^\n\r\u0085\u2028\u2029]"
_TOKEN = regex.compile(
    r"\\u[dD][89abAB]\p{XDigit}{2}\\u[dD][c-fC-F]\p{XDigit}{2}"  # a pair of surrogates
    r"|\\u\p{XDigit}{4}|\\x\{\p{XDigit}+\}|\\x\p{XDigit}{2}|\\[pP](?:\{\^?\w+\}|\w)|\\.|&&|.",
    regex.DOTALL,
)


@cache
def compiled(pattern: str) -> regex.Pattern[str]:
    """Returns an expression that matches what the pattern matches in Java.

    Raises:
        ValueError: the pattern can't be translated; no pattern of a model is skipped.
    """
    try:
        return regex.compile(_Translation(pattern).text, regex.VERSION1)
    except (regex.error, ValueError) as e:
        raise ValueError(f"the pattern {pattern} of AWS's model can't be read: {e}") from e


class _Translation:
    """Translates one pattern, token by token."""

    def __init__(self, pattern: str) -> None:
        self._tokens = _TOKEN.findall(pattern)
        self._at = 0
        self.text = self._outside()

    def _outside(self) -> str:
        parts = []
        while (token := self._next()) is not None:
            if token == "[":
                parts.append(self._class())
            elif token == ".":
                parts.append(_ANY)
            elif token == r"\z":
                parts.append(r"\Z")
            else:
                parts.append(_named(token) or _character(token) or token)
        return "".join(parts)

    def _class(self) -> str:
        """Returns a bracket expression whose opening bracket was consumed. Escapes all other characters, because
        `regex` gives more of them a meaning than Java.
        """
        parts = ["["]
        if self._peek() == "^":
            parts.append(self._next() or "")
        while (token := self._next()) != "]":
            if token is None:
                raise ValueError("a class does not end")
            if token == "[":
                parts.append(self._class())
            elif token == "&&":
                parts.append(token)
            elif named := _named(token):
                parts.append(named)
            else:
                parts.append(self._characters(token))
        return "".join([*parts, "]"])

    def _characters(self, first: str) -> str:
        """Returns one character of a bracket expression, or a range."""
        if self._peek() != "-" or self._peek(1) in ("]", "[", None) or _named(self._peek(1) or ""):
            return _literal(first)
        self._next()
        return f"{_literal(first)}-{_literal(self._next() or '')}"

    def _peek(self, ahead: int = 0) -> str | None:
        return self._tokens[self._at + ahead] if self._at + ahead < len(self._tokens) else None

    def _next(self) -> str | None:
        token = self._peek()
        self._at += 1
        return token


def _named(token: str) -> str:
    """Returns a named class in brackets of its own; empty for other tokens."""
    if token[:2] in (r"\p", r"\P"):
        name = token[2:].strip("{}")
        inside = _POSIX.get(name) or _PROPERTIES.get(name)
        if inside is None:
            return token
        return f"[{'^' if token[1] == 'P' else ''}{inside}]"
    if len(token) == 2 and token[0] == "\\" and token[1].lower() in _CLASSES:
        return f"[{'^' if token[1].isupper() else ''}{_CLASSES[token[1].lower()]}]"
    return ""


def _character(token: str) -> str:
    """Returns a character written by its number; empty for other tokens."""
    if len(token) == 12:
        return chr(0x10000 + ((int(token[2:6], 16) - 0xD800) << 10) + int(token[8:], 16) - 0xDC00)
    if token.startswith((r"\u", r"\x")) and len(token) > 2:
        return regex.escape(chr(int(token[2:].strip("{}"), 16)))
    return ""


def _literal(token: str) -> str:
    r"""Returns a character as written inside brackets; `\t` and other escaped letters and digits are kept."""
    if number := _character(token):
        return number if len(number) > 1 or number.isalnum() else f"\\{number}"
    if token[0] == "\\":
        return token if token[1:].isalnum() else f"\\{token[1:]}"
    return token if token.isalnum() else f"\\{token}"
