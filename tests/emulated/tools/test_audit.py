"""`make audit` with the real pip-audit and an OSV service on loopback."""

import json
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.support.checkout import CHECKOUT
from tests.support.servers.http_servers import serving

LOCK = "{name}=={version} \\\n    --hash=sha256:" + "a" * 64 + "\n    # via -r kit.in\n"


class _Osv(BaseHTTPRequestHandler):
    """Knows one vulnerability: of `wrong` 1.0."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base's name)
        pass

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        known = (asked["package"]["name"], asked["version"]) == ("wrong", "1.0")
        affected = [{"package": {"name": "wrong", "ecosystem": "PyPI"}, "ranges": []}]
        body = json.dumps(
            {"vulns": [{"id": "PYSEC-2026-1", "summary": "it is", "affected": affected}]} if known else {}
        )
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())


@pytest.fixture(scope="module")
def osv() -> Iterator[str]:
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), _Osv)) as server:
        yield f"http://127.0.0.1:{server.server_port}/v1/query"


def lock(folder: Path, file: str, **packages: str) -> Path:
    path = folder / file
    path.write_text("".join(LOCK.format(name=name, version=version) for name, version in packages.items()))
    return path


def make_audit(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tools.audit", *map(str, arguments)]
    return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True)


@pytest.mark.scorecard("vulnerability-scan")
def test_a_vulnerable_package_is_found_and_fails(osv: str, tmp_path: Path) -> None:
    one = lock(tmp_path, "one.txt", wrong="1.0", right="2.0")
    two = lock(tmp_path, "two.txt", wrong="2.0", right="2.0")
    done = make_audit("--osv-url", osv, one, two)
    assert done.returncode == 1, done.stderr
    assert "found: wrong 1.0 (one.txt): PYSEC-2026-1" in done.stdout
    assert done.stdout.endswith("1 findings, 0 not scanned\n")
    done = make_audit("--osv-url", osv, two)
    assert (done.returncode, done.stdout) == (0, "0 findings, 0 not scanned\n")


@pytest.mark.scorecard("vulnerability-scan")
def test_where_no_advisories_can_be_reached_it_says_so(tmp_path: Path) -> None:
    done = make_audit("--osv-url", "http://127.0.0.1:1/v1/query", lock(tmp_path, "one.txt", wrong="1.0"))
    assert done.returncode == 3
    assert "not scanned: 1 packages (one.txt): the service of advisories did not answer" in done.stdout
