"""States in a folder, under the real engine."""

from collections.abc import Callable
from pathlib import Path

import pytest

from llmops_kit.cli.stacks.backend import folder_of, folder_url
from tests.support.stacks import Stack, pulumi_environ


@pytest.mark.parametrize("url", [folder_url, Path.as_uri])
def test_a_kill_while_state_is_written_leaves_what_can_be_read(tmp_path: Path, url: Callable[[Path], str]) -> None:
    """The engine's own sidecar can be left empty, which ends each later command; the kit's backends have none."""
    stack = Stack(tmp_path, "dev", pulumi_environ(tmp_path) | {"PULUMI_BACKEND_URL": url(tmp_path / "state")})
    (tmp_path / "Pulumi.yaml").write_text("name: one\nruntime: python\n")
    stack.pulumi("stack", "init")
    sidecars = list(folder_of(stack.environ["PULUMI_BACKEND_URL"]).rglob("dev.json.attrs"))
    for path in sidecars:
        path.write_bytes(b"")
    text = stack.pulumi("cancel", "--yes", refused=bool(sidecars))
    assert ("failed to load checkpoint: EOF" in text) == (url is not folder_url)
