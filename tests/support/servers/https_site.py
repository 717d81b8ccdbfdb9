"""A web server of this machine that speaks TLS, answers as it is told, and remembers what it was asked."""

import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event
from typing import Any

import trustme

from tests.support.servers.http_servers import serving

ROWS = "".join(f'{{"n": {n}}}\n' for n in range(50_000)).encode()


@dataclass
class Site:
    """What the server answers, and what it was asked."""

    url: str = ""
    content: bytes = ROWS
    etag: str = '"1"'
    redirects: dict[str, str] = field(default_factory=dict)
    cut_after: list[int] = field(default_factory=list)
    """Bytes of the next answers, after which the connection breaks."""
    busy: int = 0
    token: str = ""
    ranges: bool = True
    packed: bool = False
    hold_after: int = 0
    """Bytes of the next answer, after which it waits for `released`."""
    released: Event = field(default_factory=Event)
    held: Event = field(default_factory=Event)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    sent: int = 0


_PIECE = 1 << 15


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Site

    def do_GET(self) -> None:
        site, asked = self.site, {name.lower(): value for name, value in self.headers.items()}
        site.requests.append((self.path, asked))
        if target := site.redirects.get(self.path):
            self.answer(302, {"Location": target})
        elif site.busy:
            site.busy -= 1
            self.answer(503, {})
        elif site.token and asked.get("authorization") != f"Bearer {site.token}":
            self.answer(403, {})
        elif self.path.endswith("none.jsonl"):
            self.answer(404, {})
        elif site.etag and asked.get("if-none-match") == site.etag:
            self.answer(304, {})
        else:
            self.send_content(asked)

    def send_content(self, asked: dict[str, str]) -> None:
        site = self.site
        headers = {"ETag": site.etag} if site.etag else {}
        if site.packed:
            headers["Content-Encoding"] = "gzip"
        start = int(asked.get("range", "bytes=0-")[6:-1])
        if site.ranges and start and asked.get("if-range") == site.etag:
            if start > len(site.content):
                self.answer(416, {})
                return
            where = f"bytes {start}-{len(site.content) - 1}/{len(site.content)}"
            self.answer(206, {**headers, "Content-Range": where}, site.content[start:])
        else:
            self.answer(200, headers, site.content)

    def answer(self, status: int, headers: dict[str, str], content: bytes = b"") -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 304:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if content and self.site.cut_after:
            content = content[: self.site.cut_after.pop(0)]
            self.close_connection = True
        if at := self.site.hold_after if content else 0:
            self.site.hold_after = 0
            self.wfile.write(content[:at])
            self.site.held.set()
            self.site.released.wait(60)
            while len(content) > at + _PIECE:  # slowly: a client that is told to end does so before the content does
                self.wfile.write(content[at : at + _PIECE])
                time.sleep(0.2)
                at += _PIECE
            content = content[at:]
        self.wfile.write(content)
        self.site.sent += len(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@contextmanager
def running_site(folder: Path) -> Iterator[tuple[Site, Path]]:
    """A site, and the file with the authority that a client of it trusts, made in a folder."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    site = Site()
    server = _Server(("127.0.0.1", 0), type("OfSite", (_Handler,), {"site": site}))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    site.url = f"https://localhost:{server.server_address[1]}"
    with serving(server):
        yield site, folder / "ca.pem"
        site.released.set()


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error of the test."""
