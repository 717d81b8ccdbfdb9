"""Writes a model version's manifest, the last file of a complete version."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from llmops_kit.core.documents.model import Golden, Lineage, ModelManifest
from llmops_kit.core.hashes import sha256_file
from llmops_kit.core.integrity.digest import file_entries
from llmops_kit.core.layout import MANIFEST
from llmops_kit.training.models.openvino_form import FOLDER
from llmops_kit.training.models.weights import STORED_DTYPE


def now() -> str:
    """Returns the current time in UTC, as ISO 8601 with seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def write_manifest(
    folder: Path, *, name: str, licence: str, lineage: Lineage, golden: list[Golden], **fields: Any
) -> str:
    """Hashes every file and writes manifest.json.

    Args:
        folder: the version, complete except for its manifest.
        fields: further fields of ModelManifest.

    Returns:
        The version's identity: the manifest's sha256.
    """
    manifest = ModelManifest.new(
        name=name,
        created=now(),
        licence=licence,
        engines=["openvino", "transformers"] if (folder / FOLDER).is_dir() else ["transformers"],
        files=file_entries(folder),
        lineage=lineage,
        golden=golden,
        **({"dtype": STORED_DTYPE} | fields),
    )
    manifest.write(folder / MANIFEST)
    return sha256_file(folder / MANIFEST)
