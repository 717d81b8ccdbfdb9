"""A complete model version in a folder or in a cloud: the files that its check reads, and the source of copies.

Documents are fetched to this machine, each as the manifest lists it. Weights stay where they are.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from llmops_kit.cli.store.remote_objects import RemoteObjects
from llmops_kit.core.documents.dataset import FileEntry
from llmops_kit.core.errors import IntegrityError
from llmops_kit.core.hashes import sha256_bytes
from llmops_kit.core.integrity.digest import list_files
from llmops_kit.core.layout import MANIFEST

_MOST_BYTES = 256 << 20
"""Maximum size of a document that a manifest lists, such as the answers of an evaluation."""


class Version(ABC):
    """A version by the folder or key that contains it."""

    @property
    @abstractmethod
    def where(self) -> str:
        """Its folder, for errors."""

    @abstractmethod
    def manifest(self) -> bytes:
        """Returns the bytes of its manifest, as hashed and signed.

        Raises:
            IntegrityError: it is missing or unreadable.
        """

    @abstractmethod
    def _read(self, name: str, most: int) -> bytes:
        """Returns the first bytes of a file."""

    def document(self, name: str, entry: FileEntry) -> bytes:
        """Returns a file's content, after checking it against the manifest.

        Raises:
            IntegrityError: it differs, is unreadable, or is larger than a document may be.
        """
        where = f"{self.where}/{name}"
        fix = "nothing of the version was used; find out who writes there"
        if entry.size > _MOST_BYTES:
            raise IntegrityError(f"is larger than {_MOST_BYTES >> 20} MiB", where=where, fix=fix)
        content = self._read(name, entry.size + 1)
        if len(content) != entry.size or sha256_bytes(content) != entry.sha256:
            raise IntegrityError("is not what the manifest lists", where=where, fix=fix)
        return content


@dataclass(frozen=True)
class FolderVersion(Version):
    """A version in a folder of this machine; a link or special file in it is refused before anything is read."""

    folder: Path

    @property
    def where(self) -> str:
        return str(self.folder)

    def manifest(self) -> bytes:
        list_files(self.folder)  # following a link would read files that the job could not
        return self._read(MANIFEST, -1)

    def _read(self, name: str, most: int) -> bytes:
        try:
            with (self.folder / name).open("rb") as file:
                return file.read(most)
        except OSError as e:
            raise IntegrityError(f"can't be read: {e.strerror}", where=str(self.folder / name)) from e


@dataclass(frozen=True)
class RemoteVersion(Version):
    """A version below a key of a bucket or container."""

    objects: RemoteObjects
    key: str

    @property
    def where(self) -> str:
        return f"{self.objects.url}/{self.key}"

    def manifest(self) -> bytes:
        if (content := self.objects.find(f"{self.key}/{MANIFEST}")) is None:
            raise IntegrityError(
                f"there is no {MANIFEST}: the job left no complete version",
                where=self.where,
                fix="`llmops runs follow` shows its output; train again",
            )
        return content

    def _read(self, name: str, most: int) -> bytes:
        if (content := self.objects.head(f"{self.key}/{name}", most)) is None:
            raise IntegrityError("is missing, though the manifest lists it", where=f"{self.where}/{name}")
        return content
