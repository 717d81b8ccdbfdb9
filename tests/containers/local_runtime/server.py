"""A server on the standard library, for a container without packages: says what it sees of its surroundings."""

import json
import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Handler(BaseHTTPRequestHandler):
    """Any path: what the container sees, as JSON."""

    def do_GET(self) -> None:
        try:
            Path("/opt/ml/model/new").write_text("x")
            writable = True
        except OSError:
            writable = False
        seen = {"version": os.environ["VERSION"], "uid": os.getuid(), "writable": writable}
        seen["model"] = Path("/opt/ml/model/weights").read_text()
        body = json.dumps(seen).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


server = ThreadingHTTPServer(("0.0.0.0", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Handler)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
print("serving", sys.argv[1], flush=True)
server.serve_forever()
print("told to end", flush=True)
