"""Objects of any cloud's storage as data is read from there: each cloud's `objects` module has a class for them."""

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
    """A bucket or container that is read."""

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
"""What happened, and the fix, where an ETag is another one."""
