"""TLS listeners on ports of 127.0.0.1: the main one, and one for each resource that has its own host on Azure."""

import json
import logging
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from werkzeug.serving import BaseWSGIServer, make_server

from llmops_kit.local_runtime.files import write_atomic
from llmops_kit.local_runtime.ports import choose_port, is_free
from llmops_twins.azure.entra import certificates
from llmops_twins.core.handler import Handler

BIND = "127.0.0.1"
PORTS_FILE = "ports.json"
log = logging.getLogger("llmops_twins.azure")
Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Listeners:
    """All listeners of a twin; the port of each name is kept in its folder."""

    def __init__(self, home: Path) -> None:
        self._file = home / PORTS_FILE
        self._context = certificates.server_context(home)
        self._lock = threading.Lock()
        self._apps: dict[str, Wsgi] = {}
        self._servers: dict[str, BaseWSGIServer] = {}
        self._ports: dict[str, int] = {}
        with suppress(OSError, ValueError):
            self._ports = json.loads(self._file.read_text())

    def add(self, name: str, app: Wsgi, tls: bool = True, port: int = 0) -> str:
        """Serves an app on its own port, and returns its address; an existing listener of that name gets the new
        app.
        """
        with self._lock:
            self._apps[name] = app
            if name not in self._servers:
                self._servers[name] = self._listen(name, port or self._port(name), tls)
            return f"{'https' if tls else 'http'}://localhost:{self._servers[name].server_port}"

    def end(self, name: str) -> None:
        """Stops a listener; the port stays reserved for its name."""
        with self._lock:
            server = self._servers.pop(name, None)
        if server:
            server.shutdown()
            server.server_close()

    def close(self) -> None:
        """Stops all listeners."""
        for name in list(self._servers):
            self.end(name)

    def _port(self, name: str) -> int:
        kept = self._ports.get(name, 0)
        if kept and is_free(BIND, kept):
            return kept
        if kept:
            log.warning("port %s of %s is taken: it gets another", kept, name)
        self._ports[name] = choose_port(BIND, avoid=list(self._ports.values()))
        write_atomic(self._file, json.dumps(self._ports, indent=2))
        return self._ports[name]

    def _listen(self, name: str, port: int, tls: bool) -> BaseWSGIServer:
        def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            return self._apps[name](environ, start_response)

        server = make_server(BIND, port, app, threaded=True, request_handler=Handler)
        if tls:
            server.ssl_context = self._context
            # Handler.setup makes the handshake in the connection's own thread, so that no client blocks the others.
            server.socket = self._context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=server.serve_forever, args=[0.2], name=f"http {name}", daemon=True).start()
        return server
