"""Streams bodies of requests and answers between a client and a server behind a twin."""

from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse

from werkzeug.wrappers import Request

_PIECE = 1 << 18


class RelayedAnswer:
    """The body of another server's answer, as an iterable for WSGI.

    The connection is closed at the end, or when the client has disconnected.
    """

    def __init__(self, connection: HTTPConnection, found: HTTPResponse) -> None:
        self._connection = connection
        self._found = found

    def __iter__(self) -> Iterator[bytes]:
        while piece := self._found.read(_PIECE):
            yield piece

    def close(self) -> None:
        """Closes the connection; werkzeug calls it."""
        self._found.close()
        self._connection.close()


def pieces_of(request: Request) -> Iterator[bytes]:
    """Yields a request's body as it arrives."""
    while piece := request.input_stream.read(_PIECE):
        yield piece
