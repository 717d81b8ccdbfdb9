"""DatasetManifest: an immutable dataset version, named by content; and the files that any version's manifest lists."""

import copy
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, BaseModel, Field, ValidationError, model_validator

from llmops_kit.core import object_keys
from llmops_kit.core.document import Document, Part, parse_json
from llmops_kit.core.errors import IntegrityError, KitError
from llmops_kit.core.layout import MANIFEST, SIGNATURE
from llmops_kit.core.names import Name, Sha256
from llmops_kit.core.validation import message_of

PART_BYTES = 512 << 20
"""Size of a large file's parts but the last. S3 accepts at most 10,000 of 5 GB in an upload."""


def part_count(size: int) -> int:
    """Returns the number of parts of a file of `size` bytes; 0 if it is not divided."""
    return -(-size // PART_BYTES) if size > PART_BYTES else 0


class FileEntry(Part):
    """Digest and size of a file, as the manifest of its dataset or model version lists it."""

    sha256: Sha256
    size: int = Field(ge=0, description="Bytes.")
    parts: list[Sha256] = Field(
        default=[],
        exclude_if=lambda parts: (
            not parts
        ),  # keeps the entries of small files, and so the identities of versions, unchanged
        description="Sha256 of each part of PART_BYTES, which S3 stores for large files; older kits: none.",
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.parts and len(self.parts) != part_count(self.size):
            raise ValueError(f"lists {len(self.parts)} parts, but {self.size} bytes have {part_count(self.size)}")
        return self


def _consistent(files: dict[str, FileEntry]) -> dict[str, FileEntry]:
    for name in (MANIFEST, SIGNATURE):
        if name in files:
            raise ValueError(f"lists {name}, which lists the others")
    for name, why in sorted(object_keys.faults(files).items()):
        raise ValueError(f"the name {object_keys.shown(name)} {why}")
    return files


Files = Annotated[dict[object_keys.Key, FileEntry], AfterValidator(_consistent)]
"""Path in a version's folder -> file."""


def files_of(manifest: bytes, where: str) -> dict[str, FileEntry]:
    """Returns the files that a dataset's or model's manifest lists; checks nothing else in it.

    Raises:
        IntegrityError: it is not a manifest, or lists a file twice or as a folder, or a path that leaves the folder.
    """
    fix = "the version can't be used: create it again, or use another one"
    try:
        return _Lists.model_validate(parse_json(manifest, where)).files
    except ValidationError as e:
        first = e.errors()[0]
        what = message_of(first)
        field = ".".join(object_keys.plain(str(part)) for part in first["loc"])
        raise IntegrityError(what, where=f"{where}: {field}" if field else where, fix=fix) from None
    except (KitError, ValueError) as e:
        what = e.what if isinstance(e, KitError) else "is not JSON"
        raise IntegrityError(what, where=where, fix=fix) from None


class _Lists(BaseModel):
    files: Files


class SourceEntry(Part):
    """Digest, rows and licence of a source when it was read."""

    source: str = Field(description="As the recipe names it.")
    sha256: Sha256 = Field(description="Of its file; of several, of their paths and hashes.")
    rows: int
    licence: str = ""


class StageCount(Part):
    """Number of rows after a stage of preparation."""

    stage: str
    rows: int = Field(ge=0)


def _migrate_1(data: dict[str, Any]) -> dict[str, Any]:
    """Migrates to dataset/2: groups for facts, other names of splits. Unreadable fields are left to validation."""
    data = copy.deepcopy(data)
    names = {"train": "train", "new_phrasings": "rephrased", "new_facts": "test"}
    with suppress(KeyError, TypeError, AttributeError):
        for source in data["sources"]:
            source["source"] = source.pop("path")
        files = {new: f"{old}.jsonl" for old, new in names.items()}
        data["splits"] = {name: file for name, file in files.items() if file in data["files"]}
        data["group"] = "fact"
        data["groups"] = {names.get(name, name): n for name, n in data.pop("facts", {}).items()}
        data["rows"] = {names.get(name, name): n for name, n in data["rows"].items()}
    return data


class DatasetManifest(Document):
    """manifest.json of a dataset version; its sha256 is the version's identity."""

    SCHEMA: ClassVar[str] = "dataset/2"
    MIGRATIONS: ClassVar[dict[int, Callable[[dict[str, Any]], dict[str, Any]]]] = {1: _migrate_1}

    name: Name
    sources: list[SourceEntry]
    splits: dict[str, object_keys.Key] = Field(
        description="Split -> its file, or the folder of its shards, read in the order of their names: Parquet with a "
        "column `row` of JSON; of an older kit, a file of JSON lines."
    )
    rows: dict[str, int] = Field(description="Split -> rows kept.")
    group: str = Field(default="", description="Key of the rows whose value is their group; empty: their prompt.")
    groups: dict[str, int] = Field(default={}, description="Split -> groups.")
    dropped: dict[str, int] = Field(default={}, description="Reason -> rows dropped.")
    stages: list[StageCount] = Field(default=[], description="Rows after each stage; empty in manifests of older kits.")
    examples: dict[str, list[str]] = Field(
        default={},
        description="Reason -> beginnings of up to five dropped rows, or place and fault of rows that can't be used; "
        "personal data and secrets that were looked for are masked.",
    )
    redacted: dict[str, int] = Field(default={}, description="Kind of redacted text -> rows that held it.")
    ner_model: Sha256 | None = Field(
        default=None,
        exclude_if=lambda sha256: sha256 is None,
        description="Identity of the model version that `data.prepare.ner` names.",
    )
    languages: dict[str, int] = Field(default={}, description="Language -> rows kept, if languages were told.")
    tokens: dict[str, int] = Field(default={}, description="Split -> tokens, if they were counted.")
    token_histogram: dict[str, list[int]] = Field(
        default={}, description="Split -> rows by the bits of their number of tokens: 0, 1, 2-3, 4-7, and so on."
    )
    files: Files = Field(description="Path in the folder -> file, the manifest aside.")

    @model_validator(mode="after")
    def _splits_are_listed(self) -> Self:
        folders = {name.rpartition("/")[0] for name in self.files}
        if missing := sorted(set(self.splits.values()) - set(self.files) - folders):
            raise ValueError(f"`splits` names {missing[0]}, which `files` does not list")
        return self
