"""A token of a recipe's source: read by whoever trains, given to the one fetch that needs it, and to nothing else."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from llmops_kit.cli.importing.importing import import_model
from llmops_kit.core.documents.recipe import BaseModelSource
from llmops_kit.core.errors import KitError
from tests.support.servers.http_servers import serving
from tests.unit.cli.conftest import make_platform

SECRET = "hf_notForLogs"


@pytest.fixture
def hub() -> Iterator[tuple[str, list[str]]]:
    """A model hub that knows no model: its address, and the authorisations that it was shown."""
    shown: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            shown.append(self.headers.get("Authorization", ""))
            self.send_response(401)
            self.send_header("X-Error-Code", "GatedRepo")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as server:
        yield f"http://127.0.0.1:{server.server_port}", shown


def test_the_hub_is_shown_the_token_and_nobody_else(
    tmp_path: Path, hub: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, shown = hub
    platform = make_platform(tmp_path / "home", "dev")
    gated = BaseModelSource(name="gated", source="hub:org/gated", revision="a" * 40, token="secret:hub-token")
    with pytest.raises(KitError) as missed:
        import_model(platform, gated, lambda _: None, tmp_path)
    assert missed.value.where == "$LLMOPS_SECRET_HUB_TOKEN"
    assert shown == []

    monkeypatch.setenv("LLMOPS_SECRET_HUB_TOKEN", SECRET)
    monkeypatch.setenv("HF_ENDPOINT", address)
    said: list[str] = []
    with pytest.raises(KitError, match="can't be fetched") as refused:
        import_model(platform, gated, said.append, tmp_path)
    assert f"Bearer {SECRET}" in shown
    assert SECRET not in "".join([*said, str(refused.value), gated.model_dump_json()])
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and SECRET.encode() in p.read_bytes()]
