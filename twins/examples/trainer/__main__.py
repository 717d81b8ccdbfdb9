"""The container under test: `python -m trainer train` fits a line, `python -m trainer serve` answers with it.

On SageMaker and Azure ML its folders are /opt/ml/…; as a process of a twin they are below $LLMOPS_ROOT.
"""

import csv
import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ML = Path(os.environ.get("LLMOPS_ROOT", "/"), "opt/ml")


def train() -> None:
    """Fits a line to the channel `train` by least squares, and writes its slope into the model."""
    rows = [row for file in (ML / "input/data/train").glob("*.csv") for row in csv.reader(file.open())]
    points = [(float(x), float(y)) for x, y in rows]
    slope = sum(x * y for x, y in points) / sum(x * x for x, _ in points)
    (ML / "model").mkdir(parents=True, exist_ok=True)
    (ML / "model/model.json").write_text(json.dumps({"slope": slope}))
    print(f"slope={slope}")


class LineHandler(BaseHTTPRequestHandler):
    """Answers health checks by GET, and predictions by POST."""

    def do_GET(self) -> None:
        self.answer({"ready": True})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.answer({"y": float(os.environ.get("SLOPE", "2")) * asked["x"]})

    def answer(self, document: dict[str, object]) -> None:
        """Sends a JSON response."""
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    if sys.argv[1:] == ["train"]:
        train()
    else:
        port = int(os.environ.get("SAGEMAKER_BIND_TO_PORT", "8080"))
        ThreadingHTTPServer(("0.0.0.0" if port == 8080 else "127.0.0.1", port), LineHandler).serve_forever()
