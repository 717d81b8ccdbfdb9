"""Commands of earlier releases, with the one that does the same now."""

from collections.abc import Sequence

FORMER: dict[str, str] = {
    "conformance": "make conformance",
    "sweep": "llmops down --orphans",
    "token": "llmops status --env",
}
"""Words after `llmops`, an option that went last, and the full command in their place."""


def replacement(words: Sequence[str]) -> str:
    """Returns a sentence that names the present command; empty if the words are no former command."""
    for former, present in FORMER.items():
        *names, last = former.split()
        if last.startswith("-"):
            known = list(words[: len(names)]) == names and any(w.partition("=")[0] == last for w in words)
        else:
            known = list(words[: len(names) + 1]) == [*names, last]
        if known:
            return f"`llmops {former}` is gone; use `{present}` instead."
    return ""
