"""Placeholders in interface texts, which a program fills in and a translation must keep."""

import re
from collections import Counter

# printf's and Python's, with %% aside; braces of str.format, ICU and Qt's %1.
_PLACEHOLDER = re.compile(
    r"%%|%\([^)\s]+\)[-#0 +]*[\d.*]*[a-zA-Z]|%[-#0+]*[\d.*]*(?:hh|h|ll|l|L|z|j|t)?[diouxXeEfFgGcrsa]\b|%\d+|"
    r"\{\{?\s*[A-Za-z_0-9.]*(?:![rsa])?(?::[^{}]*)?\s*\}?\}"
)


def placeholders(text: str) -> Counter[str]:
    """Returns the placeholders of a text, without `%%`. A named one counts once, because translations may repeat it."""
    found = Counter(each for each in _PLACEHOLDER.findall(text) if each != "%%")
    return Counter({each: 1 if each.startswith(("%(", "{")) else times for each, times in found.items()})
