"""CollectedFile: the receipt of a file that `llmops data collect` fetched; a line of receipts.jsonl in its folder."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from pydantic import AwareDatetime, Field

from llmops_kit.core.document import Document
from llmops_kit.core.documents.recipe_data import DataSource
from llmops_kit.core.errors import DocumentError
from llmops_kit.core.hashes import sha256_bytes
from llmops_kit.core.names import Sha256
from llmops_kit.core.object_keys import Key

RECEIPTS = "receipts.jsonl"


class CollectedFile(Document):
    """A file as it was fetched."""

    SCHEMA: ClassVar[str] = "collected-file/1"

    source: str = Field(description="The source as the recipe names it, without a URL's query.")
    path: Key = Field(description="Path relative to the collected folder.")
    url: str = Field(description="URL of its bytes.")
    member: str = Field(default="", description="Its path in the archive at `url`; empty: `url` is the file itself.")
    revision: str = Field(
        description="Changes whenever the bytes at `url` do: ETag, commit, package version, or a local file's size and "
        "time. Empty: the server names none, and the next collect fetches again."
    )
    bytes: int = Field(ge=0)
    rows: int | None = Field(default=None, description="Of JSON lines and Parquet; other formats tell when read.")
    sha256: Sha256
    licence: str = Field(default="", description="SPDX identifier, from the recipe.")
    fetched_at: AwareDatetime = Field(description="UTC. Also the file's own time: a file with another one was changed.")

    def to_line(self) -> str:
        """Returns one line of canonical JSON, with its newline."""
        data = self.model_dump(mode="json", by_alias=True)
        return json.dumps(data, sort_keys=True, ensure_ascii=False) + "\n"


def source_folder(source: DataSource) -> str:
    """Returns the folder of a source below the collected folder; only `source`, `files` and `revision` name it."""
    words = re.sub(r"[^a-z0-9]+", "-", source.source.partition("?")[0].lower()).strip("-")[:40].strip("-")
    identity = f"{source.source}\0{source.files}\0{source.revision}"
    return f"{words}-{sha256_bytes(identity.encode())[:10]}"


def read_receipts(path: Path) -> list[CollectedFile]:
    """Reads the receipts in a file; returns [] if there is no such file.

    Raises:
        DocumentError: a line is not a receipt; names file and line.
    """
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    except OSError as e:
        raise DocumentError(f"can't be read: {e.strerror}", where=str(path)) from e
    return [CollectedFile.parse(line, where=f"{path}:{number}") for number, line in enumerate(lines, start=1)]


def to_lines(receipts: Iterable[CollectedFile]) -> str:
    """Returns the content of receipts.jsonl, sorted by path."""
    return "".join(receipt.to_line() for receipt in sorted(receipts, key=lambda receipt: receipt.path))
