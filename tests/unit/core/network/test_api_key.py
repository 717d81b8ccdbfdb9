"""The file of an endpoint's API key."""

import stat
from pathlib import Path

from llmops_kit.core.network.api_key import make_api_key


def test_an_api_key_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "keys/chat.key"
    make_api_key(path)
    key = path.read_text()
    make_api_key(path)
    assert path.read_text() == key
    assert len(key.strip()) > 40
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
