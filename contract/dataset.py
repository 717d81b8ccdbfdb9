"""DatasetManifest: an immutable dataset version, named by content."""

from typing import ClassVar

from pydantic import Field

from contract.documents import Document, Part
from contract.names import Name, Sha256


class FileEntry(Part):
    """A file of a version."""

    sha256: Sha256
    size: int = Field(ge=0, description="Bytes.")


class SourceEntry(Part):
    """A source as it was read."""

    path: str
    sha256: Sha256
    rows: int
    licence: str = ""


class DatasetManifest(Document):
    """manifest.json of a dataset version; its sha256 is the version's identity."""

    SCHEMA: ClassVar[str] = "dataset/1"

    name: Name
    sources: list[SourceEntry]
    rows: dict[str, int] = Field(description="Split -> rows kept.")
    facts: dict[str, int] = Field(default={}, description="Split -> facts.")
    dropped: dict[str, int] = Field(default={}, description="Reason -> rows dropped.")
    files: dict[str, FileEntry] = Field(description="Path in the folder -> file, the manifest aside.")
