"""Asks a worker for its health, as the router does."""

import http.client
import json
import urllib.error
import urllib.request
from contextlib import suppress


def phase(port: int) -> str:
    """Returns a worker's phase before it is ready, such as `verifying, 40 %`; empty once it is ready."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=2) as answer:
            return "" if answer.status == 200 else "not ready"
    except urllib.error.HTTPError as e:
        with e, suppress(OSError, ValueError, TypeError, KeyError, http.client.HTTPException):
            said = json.loads(e.read(4096))
            share = f", {float(said['progress']):.0%}" if "progress" in said else ""
            return f"{str(said['status'])[:40]}{share}"
        return "not ready"
    except (urllib.error.URLError, OSError, http.client.HTTPException):
        return "starting"
