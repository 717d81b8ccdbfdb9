"""Proxy that rejects requests of a rehearsal's programs to other machines."""

import socketserver
import threading
from types import TracebackType

from llmops_kit.core.errors import KitError

_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_OURS = "127.0.0.1,localhost,::1"


class Guard:
    """Rejects every request for another machine with 403, and records it."""

    def __init__(self) -> None:
        self.refused: list[str] = []
        self._server = _RefusingServer(("127.0.0.1", 0), _Refuse)
        self._server.refused = self.refused
        self._thread = threading.Thread(target=self._server.serve_forever, name="guard", daemon=True)

    def __enter__(self) -> "Guard":
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def environ(self) -> dict[str, str]:
        """Variables that send a program's requests to this proxy, except those to loopback."""
        url = f"http://127.0.0.1:{self._server.server_address[1]}"
        named = dict.fromkeys(_VARIABLES, url) | {"NO_PROXY": _OURS}
        return named | {name.lower(): value for name, value in named.items()}

    def require_quiet(self, where: str) -> None:
        """Checks that no program requested another machine since the last check.

        Raises:
            KitError: one did; names the requests.
        """
        asked, self.refused[:] = sorted(set(self.refused)), []
        if asked:
            raise KitError(
                f"a program of the rehearsal tried to reach {', '.join(asked)}, and was refused",
                where=where,
                fix="a rehearsal may only reach this machine; the step's log shows the caller",
            )


class _RefusingServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    refused: list[str]


class _Refuse(socketserver.StreamRequestHandler):
    timeout = 5

    def handle(self) -> None:
        words = self.rfile.readline(8192).decode("latin-1").split()
        assert isinstance(self.server, _RefusingServer)
        if len(words) > 1:
            self.server.refused.append(words[1])
        self.wfile.write(b"HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
