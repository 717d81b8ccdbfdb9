"""Turns tokens into text for clients: whole characters only, and nothing of a stop string."""

from collections.abc import Callable, Sequence

# A character's first bytes decode to one of these each; a longer run can't be a beginning, and is passed on.
_BROKEN = "\ufffd"
_GARBAGE = _BROKEN * 5


class Detokenizer:
    """Decodes tokens that arrive one by one; the pieces joined equal the result of decoding all at once."""

    def __init__(self, decode: Callable[[list[int]], str]) -> None:
        self._decode = decode
        # Decoding depends on context (leading spaces), so the tokens of the last piece are decoded again.
        self._ids: list[int] = []
        self._shown = 0
        self._context = ""

    def feed(self, ids: Sequence[int]) -> str:
        """Returns the text completed by these tokens; the first bytes of a character wait for the rest."""
        self._ids += ids
        text = self._decode(self._ids)
        if text.endswith(_BROKEN) and not text.endswith(_GARBAGE):
            return ""
        return self._show(text)

    def flush(self) -> str:
        """Returns the remaining text at the end of the answer."""
        return self._show(self._decode(self._ids)) if self._shown < len(self._ids) else ""

    def _show(self, text: str) -> str:
        new = text[len(self._context) :]
        self._ids = self._ids[self._shown :]
        self._shown = len(self._ids)
        self._context = self._decode(self._ids)
        return new


class StopStrings:
    """Cuts a text at the stop string that ends first, regardless of how the text is split into pieces."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._longest = max(map(len, self._stops), default=0)
        self._held = ""

    def feed(self, text: str) -> tuple[str, bool]:
        """Returns the text that may be shown, and whether a stop string was found; holds back a possible beginning of
        one.
        """
        if not self._stops:
            return text, False
        held = self._held + text
        met = [(i + len(s), i) for s in self._stops if (i := held.find(s)) >= 0]
        if met:
            self._held = ""
            return held[: min(met)[1]], True
        keep = self._possible_start(held)
        self._held = held[len(held) - keep :]
        return held[: len(held) - keep], False

    def flush(self) -> str:
        """Returns the text held back, when the answer ends without a stop string."""
        held, self._held = self._held, ""
        return held

    def _possible_start(self, text: str) -> int:
        for length in range(min(len(text), self._longest - 1), 0, -1):
            if any(s.startswith(text[-length:]) for s in self._stops):
                return length
        return 0
