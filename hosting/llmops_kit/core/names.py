"""Names and references that users write: `chatbot`, `chatbot@3`, `chatbot@3@sha256:…`."""

import re
from typing import Annotated, NamedTuple

from pydantic import StringConstraints

from llmops_kit.core.errors import IntegrityError, KitError

# A letter first, so that every cloud accepts it (Azure ML endpoints: 3-32, letters, digits, single dashes).
NAME_PATTERN = r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$"
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN, min_length=3, max_length=32)]
SHA256_PATTERN = r"^[0-9a-f]{64}$"
Sha256 = Annotated[str, StringConstraints(pattern=SHA256_PATTERN)]

_ALIAS = re.compile(r"^(?P<name>[a-z][a-z0-9-]*)@(?P<number>[1-9][0-9]*|latest)$")
_IDENTITY = re.compile(r"^(?P<name>[a-z][a-z0-9-]*)@sha256:(?P<sha256>[0-9a-f]{64})$")
_PROMOTED = re.compile(r"^(?P<name>[a-z][a-z0-9-]*)@(?P<number>[1-9][0-9]*)@sha256:(?P<sha256>[0-9a-f]{64})$")


class ModelRef(NamedTuple):
    """A promoted model version: its alias in a store, and its identity."""

    name: str
    number: int
    sha256: str

    @property
    def alias(self) -> str:
        """`name@number`."""
        return f"{self.name}@{self.number}"

    def __str__(self) -> str:
        return f"{self.alias}@sha256:{self.sha256}"


def identity(name: str, sha256: str) -> str:
    """Returns `name@sha256:…`, which names a version before it has a number, and however it is numbered."""
    return f"{name}@sha256:{sha256}"


def parse_identity(text: str) -> tuple[str, str] | None:
    """Split `name@sha256:<64 hex digits>`; None if the text has another form."""
    match = _IDENTITY.match(text)
    return (match["name"], match["sha256"]) if match else None


def parse_alias(text: str) -> tuple[str, int | None]:
    """Split `name@number` or `name@latest`; the number is None for latest.

    Raises:
        KitError: the text is neither.
    """
    match = _ALIAS.match(text)
    if not match:
        raise KitError(f"{text!r} is not a model version", fix="write name@number or name@latest")
    number = match["number"]
    return match["name"], None if number == "latest" else int(number)


def parse_promoted(text: str) -> ModelRef:
    """Split `name@number@sha256:<64 hex digits>`.

    Raises:
        KitError: the text has another form.
    """
    match = _PROMOTED.match(text)
    if not match:
        raise KitError(
            f"{text!r} is not a promoted model version (name@number@sha256:<64 hex digits>)",
            fix="let `llmops promote name@number` write this line",
        )
    return ModelRef(match["name"], int(match["number"]), match["sha256"])


def require_name(alias: str, name: str, where: str) -> None:
    """Check that a version has the name of its alias: aliases are not signed, but the name in a manifest is.

    Args:
        alias: `name@number`, or the name alone.
        name: the name in the version's manifest.
        where: the manifest's place.

    Raises:
        IntegrityError: they are of different names.
    """
    if alias.partition("@")[0] != name:
        raise IntegrityError(
            f"says that the version is named {name}, but its alias is {alias}",
            where=where,
            fix=f"use an alias of {name}; somebody who can write to the store created {alias}",
        )
