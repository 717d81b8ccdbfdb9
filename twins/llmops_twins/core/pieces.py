"""Streams a container's answer to the client piece by piece."""

from collections.abc import Callable, Iterator

from llmops_twins.core.exchanges import ContainerError, Exchange


class Pieces:
    """The pieces of an answer for the client, as they arrive; `close` releases the container in any case.

    Args:
        exchange: the exchange with the container, whose answer has begun.
        frame: converts a piece for the client.
        broken: returns the last piece of an answer that breaks off; None: the client's connection breaks off too.
        ended: called once, with the reason of a break or None; releases the container.
        cut_after: number of bytes after which the client's connection is broken off, for a fault.
    """

    def __init__(
        self,
        exchange: Exchange,
        frame: Callable[[bytes], bytes],
        broken: Callable[[ContainerError], bytes | None],
        ended: Callable[[str | None], None],
        cut_after: int | None = None,
    ) -> None:
        self._exchange = exchange
        self._frame = frame
        self._broken = broken
        self._ended: Callable[[str | None], None] | None = ended
        self._left = cut_after
        self._over = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._over:
            raise StopIteration
        try:
            piece = self._exchange.piece()
        except ContainerError as e:
            self._over = True
            self._end(e.reason)
            last = self._broken(e)
            if last is None:
                raise ConnectionAbortedError(f"the container's answer is {e.reason}") from e
            return last
        if not piece:
            self._end(None)
            raise StopIteration
        return self._frame(self._cut(piece))

    def close(self) -> None:
        """Releases the container; closes the connection to one that still answers."""
        self._end("left")

    def _cut(self, piece: bytes) -> bytes:
        if self._left is None:
            return piece
        if not self._left:
            raise ConnectionAbortedError("cut, as the fault cut_stream asks for")
        kept = piece[: self._left]
        self._left -= len(kept)
        return kept

    def _end(self, reason: str | None) -> None:
        if self._ended:
            ended, self._ended = self._ended, None
            ended(reason)
