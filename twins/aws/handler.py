"""HTTP/1.1 with connections that are kept, for werkzeug's threaded server, which closes each after one answer."""

import logging
from http import HTTPStatus
from typing import Any

from moto.moto_server.werkzeug_app import MotoRequestHandler
from werkzeug.wrappers import Response

log = logging.getLogger("twins.aws.http")


class Handler(MotoRequestHandler):
    """The application must read each request's body as a whole, so that the next request begins where it ends."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 120  # of a connection on which nothing comes

    def run_wsgi(self) -> None:
        """Answer one request, in one piece."""
        self.environ = environ = self.make_environ()
        try:
            response = Response.from_app(self.server.app, environ, buffered=True)
            status, headers = response.status, response.headers.to_wsgi_list()
            body = response.get_data()
        except Exception:
            log.exception("%s failed", self.requestline)
            status, headers, body = f"{HTTPStatus.INTERNAL_SERVER_ERROR.value} Twin Failure", [], b""
            self.close_connection = True
        code, _, reason = status.partition(" ")
        self.send_response(int(code), reason)
        for name, value in headers:
            if name.lower() not in ("date", "server", "connection"):
                self.send_header(name, value)
        bodiless = environ["REQUEST_METHOD"] == "HEAD" or int(code) in (204, 304)
        if not any(name.lower() == "content-length" for name, _ in headers) and int(code) not in (204, 304):
            self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self._headers_buffer.append(b"\r\n" + (b"" if bodiless else body))
        self.flush_headers()

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Requests are many: seen at debug level only."""
        log.debug("%s %s", self.requestline, code)

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002
        """What the server has to say otherwise."""
        log.info(message, *args)
