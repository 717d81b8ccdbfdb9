"""Revocations: which signing keys and model versions of a store are no longer trusted."""

from collections.abc import Collection
from typing import ClassVar, Literal

from pydantic import Field

from llmops_kit.core.document import Document, Part


class Revocation(Part):
    """One key or version, and why it is revoked."""

    kind: Literal["key", "version"]
    id: str = Field(pattern=r"^sha256:[0-9a-f]{64}$", description="Of the key, or identity of the version.")
    public_key: str = Field(default="", description="Of a key, in PEM, so that what it signed can still be recognized.")
    reason: str
    by: str = Field(description="Who revoked it.")
    at: str


class Revocations(Document):
    """A complete list: it replaces all with lower numbers."""

    SCHEMA: ClassVar[str] = "revocations/1"

    number: int = Field(ge=0, description="In the name of its object too; 0: nothing was ever revoked.")
    entries: list[Revocation] = Field(default=[], max_length=10_000)

    def find(self, kind: Literal["key", "version"], id_: str) -> Revocation | None:
        """Returns the revocation of a key or version; None if it is not revoked."""
        return next((each for each in self.entries if (each.kind, each.id) == (kind, id_)), None)

    @property
    def keys(self) -> Collection[str]:
        """Ids of the revoked keys."""
        return {each.id for each in self.entries if each.kind == "key"}
