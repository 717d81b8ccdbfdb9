"""Interface of a cloud's storage as a source of data; each cloud's `objects` module has a class that implements it."""

from collections.abc import Generator, Iterator
from typing import NamedTuple, Protocol


class ObjectEntry(NamedTuple):
    """An object in a listing.

    Attributes:
        key: its whole key.
        size: bytes.
        etag: changes whenever its content does.
    """

    key: str
    size: int
    etag: str


class ObjectSource(Protocol):
    """A bucket or container to read from."""

    url: str

    def entries(self, prefix: str) -> Iterator[ObjectEntry]:
        """Yields the objects whose keys begin with a prefix.

        Raises:
            KitError: the cloud refuses, or there is no such bucket or container.
        """
        ...

    def stream(self, key: str, etag: str, start: int) -> Generator[bytes, None, None]:
        """Yields an object's content from byte `start` on, in chunks. A caller that stops early has to close it.

        Raises:
            KitError: the cloud refuses, or the object has another ETag by now.
        """
        ...


CHANGED = ("was changed while it was read", "repeat the command: it fetches the new one")
"""Message and fix of the error for a changed ETag."""
