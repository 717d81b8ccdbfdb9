"""The chat page's libraries are the files that npm has."""

import shutil
from pathlib import Path

from tools.vendored import FOLDER, changed


def test_each_file_is_the_recorded_one_and_a_changed_byte_is_named(tmp_path: Path) -> None:
    assert list(changed()) == []
    copy = tmp_path / "vendor"
    shutil.copytree(FOLDER, copy)
    with (copy / "marked.js").open("a") as file:
        file.write(" ")
    (complaint,) = changed(copy)
    assert complaint.startswith("marked.js has sha256 ")
