"""Makes a report anonymous: without the account, the caller, and this machine's folders."""

import getpass
import platform
import re
from collections.abc import Iterable
from pathlib import Path

_GUID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", re.IGNORECASE)
_AWS_ACCOUNT = re.compile(r"(?<![\w.])\d{12}(?!\w)")  # not a part of a number or a hash
_CALLER = re.compile(r"\b(?:user|assumed-role|federated-user)/[\w+=,.@/-]+")
_ADDRESS = re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]+")
_SHORTEST = 4


def anonymous(text: str, *known: str) -> str:
    """Returns the text with placeholders for each account number, id, caller, address, and each of `known`. Equal ids
    get equal placeholders.
    """
    for each in sorted(_here(known), key=len, reverse=True):
        text = text.replace(each, "…")
    ids: dict[str, str] = {}
    text = _GUID.sub(lambda m: ids.setdefault(m[0].lower(), f"id-{len(ids) + 1}"), text)
    text = _CALLER.sub("caller", text)
    text = _ADDRESS.sub("somebody", text)
    return _AWS_ACCOUNT.sub("ACCOUNT", text)


def _here(known: Iterable[str]) -> set[str]:
    own = (str(Path.home()), platform.node())
    return {each for each in (*own, *known) if len(each) >= _SHORTEST and each != _user_of_all()}


def _user_of_all() -> str:
    """Returns a user name that identifies nobody, because the kit uses the word too; else an empty string."""
    try:
        return "root" if getpass.getuser() == "root" else ""
    except (OSError, KeyError):
        return ""
