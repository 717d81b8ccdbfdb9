"""Unix sockets of this user's own."""

import stat
from pathlib import Path

import pytest

from llmops_kit.core.errors import KitError
from llmops_kit.core.network.unix_sockets import connect, listen


def test_a_socket_in_a_deep_folder_can_be_reached_by_its_user_alone(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 100) / ("y" * 100) / "s.sock"
    path.parent.mkdir(parents=True, mode=0o700)
    for _ in range(2):  # over the one that a killed server left
        with listen(path) as server, connect(path):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            server.accept()[0].close()
    with pytest.raises(ConnectionRefusedError):
        connect(path)


def test_a_folder_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o711)
    with pytest.raises(KitError, match="other users may enter this folder"):
        listen(tmp_path / "s.sock")
    tmp_path.chmod(0o700)
    with pytest.raises(KitError, match="no socket can be made here"):
        listen(tmp_path / "missing/s.sock")
