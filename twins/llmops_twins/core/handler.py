"""HTTP/1.1 with persistent connections, for werkzeug's threaded server, which closes each after one answer."""

import logging
import re
import ssl
from collections.abc import Callable, Iterable
from io import BufferedReader
from itertools import chain
from typing import IO, Any

from werkzeug.exceptions import ClientDisconnected
from werkzeug.serving import DechunkedInput, WSGIRequestHandler
from werkzeug.wrappers import Response
from werkzeug.wsgi import LimitedStream

from llmops_kit.core.twins import is_loopback

log = logging.getLogger("twins.http")
_TLS_HANDSHAKE = b"\x16"
_UNREAD_BYTES = 1 << 20
"""Maximum number of bytes of an unread body that are drained to keep the connection; with more, it is closed."""
_FAILURE = Response(status="500 Twin Failure")


class Handler(WSGIRequestHandler):
    """Answers requests one after the other. A body may be left unread; an answer without a length is sent in chunks,
    each piece as soon as the application yields it. An application that fails midway ends the connection.
    """

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 120  # seconds until a connection without traffic is closed

    def setup(self) -> None:
        """Makes the TLS handshake in the connection's own thread, so that a silent client blocks nobody."""
        if isinstance(self.request, ssl.SSLSocket):
            self.request.settimeout(self.timeout)
            self.request.do_handshake()
        super().setup()

    def handle_one_request(self) -> None:
        """Closes the connection of a client that first tries TLS on a plain port, as Docker does: its handshake
        contains no line end.
        """
        assert isinstance(self.rfile, BufferedReader)
        try:
            if self.rfile.peek(1)[:1] == _TLS_HANDSHAKE:
                self.close_connection = True
                return
        except (TimeoutError, ConnectionError, ssl.SSLError):
            self.close_connection = True
            return
        super().handle_one_request()

    def run_wsgi(self) -> None:
        self.environ = environ = self.make_environ()
        body = environ["wsgi.input"] = _body(environ)
        environ["wsgi.input_terminated"] = True
        try:
            answer = _WsgiAnswer(self.server.app, environ)
        except ClientDisconnected:
            self.close_connection = True
            return
        except Exception:
            log.exception("%s failed", self.requestline)
            answer = _WsgiAnswer(_FAILURE, environ)
            self.close_connection = True
        try:
            self._send(answer.status, answer.headers, answer.pieces)
        except Exception as e:
            gone = isinstance(e, ConnectionError | TimeoutError | ssl.SSLError)
            log.log(logging.DEBUG if gone else logging.ERROR, "%s ended: %r", self.requestline, e, exc_info=not gone)
            self.close_connection = True
        finally:
            answer.close()
        self.close_connection = self.close_connection or not _exhaust(body)

    def _send(self, status: str, headers: list[tuple[str, str]], pieces: Iterable[bytes]) -> None:
        """Sends an answer; a body of one piece in one packet with the headers."""
        code, _, reason = status.partition(" ")
        bodiless = self.command == "HEAD" or int(code) in (204, 304)
        names = {name.lower() for name, _ in headers}
        if not bodiless and "content-length" not in names and isinstance(pieces, list | tuple):
            headers = [*headers, ("Content-Length", str(sum(map(len, pieces))))]
            names.add("content-length")
        chunked = not bodiless and "content-length" not in names and self.request_version != "HTTP/1.0"
        if not bodiless and not chunked and "content-length" not in names:
            self.close_connection = True  # the only end of a body that HTTP/1.0 knows
        self._begin(int(code), reason, headers, chunked)
        if chunked:
            self.flush_headers()
        for piece in () if bodiless else pieces:
            self._headers_buffer.append(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked and piece else piece)
            self.flush_headers()
        if chunked:
            self._headers_buffer.append(b"0\r\n\r\n")
        self.flush_headers()

    def _begin(self, code: int, reason: str, headers: list[tuple[str, str]], chunked: bool) -> None:
        self.send_response(code, reason)
        for name, value in headers:
            if name.lower() not in ("date", "server", "connection"):
                self.send_header(name, value)
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        if self.close_connection:
            self.send_header("Connection", "close")
        self._headers_buffer.append(b"\r\n")

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Logs requests at debug level, because there are many."""
        log.debug("%s %s", self.requestline, code)

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002
        """Logs the server's other messages."""
        log.info(message, *args)


def is_for_this_machine(environ: dict[str, Any]) -> bool:
    """Returns whether a request addresses this machine and does not come from a page in a browser."""
    host = re.sub(r":\d+$", "", environ.get("HTTP_HOST", "localhost"))
    return (host.endswith(".localhost") or is_loopback(f"http://{host}")) and "HTTP_ORIGIN" not in environ


class _WsgiAnswer:
    """An application's answer that has begun, before its first piece is read."""

    def __init__(self, app: Callable[..., Iterable[bytes]], environ: dict[str, Any]) -> None:
        self.status = ""
        self.headers: list[tuple[str, str]] = []
        self._given = app(environ, self._start)
        self.pieces: Iterable[bytes] = self._given
        if not self.status:  # a generator calls start_response when its first piece is read
            pieces = iter(self._given)
            self.pieces = chain([next(pieces, b"")], pieces)

    def _start(self, status: str, headers: list[tuple[str, str]], _error: Any = None) -> Callable[[bytes], object]:
        self.status, self.headers = status, headers
        return _no_write

    def close(self) -> None:
        if close := getattr(self._given, "close", None):
            close()


def _no_write(_data: bytes) -> object:
    raise NotImplementedError("write() is not supported: return the body")


class _Chunks(DechunkedInput):
    """A body in chunks that detects its end."""

    @property
    def is_exhausted(self) -> bool:
        return self._done


def _body(environ: dict[str, Any]) -> LimitedStream | _Chunks:
    stream: IO[bytes] = environ["wsgi.input"]
    if isinstance(stream, DechunkedInput):
        return _Chunks(stream._rfile)
    return LimitedStream(stream, int(environ.get("CONTENT_LENGTH") or 0))


def _exhaust(body: LimitedStream | _Chunks) -> bool:
    """Drains the rest of a request's body if it is small. Returns whether the next request begins here."""
    try:
        left = _UNREAD_BYTES
        while not body.is_exhausted and left > 0:
            left -= len(body.read(1 << 16))
    except (OSError, ClientDisconnected):
        return False
    return body.is_exhausted
