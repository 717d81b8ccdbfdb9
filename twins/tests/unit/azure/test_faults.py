"""Faults of the hosts that resources have of their own."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import Client
from werkzeug.wrappers import Response

from llmops_twins.azure import faults
from llmops_twins.azure.entra import principals
from tests.support.clouds.azure import local_twin


def well(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    return Response("well")(environ, start_response)


@pytest.mark.parametrize(
    ("service", "kind", "status", "code"),
    [
        ("storage", "throttle", 503, "ServerBusy"),
        ("storage", "error", 500, "InternalError"),
        ("vault", "throttle", 429, "Throttled"),
        ("vault", "error", 500, "InternalServerError"),
    ],
)
def test_each_host_says_it_in_its_own_words(tmp_path: Path, service: str, kind: str, status: int, code: str) -> None:
    twin = local_twin(tmp_path, principals.install, faults.install)
    twin.data_plane(f"{service}/mine", well)
    client = Client(twin.data_planes[f"{service}/mine"])
    assert client.get("/a/b").status_code == 200
    faults.of(twin).add(kind, {"service": service, "operation": "PUT /a/*"})
    assert client.get("/a/b").status_code == 200
    answer = client.put("/a/b")
    assert (answer.status_code, answer.headers["x-ms-error-code"]) == (status, code)
    assert json.loads(answer.get_data())["error"]["code"] == code
    assert client.put("/a/b").status_code == 200
