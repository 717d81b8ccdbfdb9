"""Where tests keep their files."""

import os
import shutil
import tempfile
from pathlib import Path

_MEMORY = Path("/dev/shm")  # of Linux
_ROOM_BYTES = 1_000_000_000
"""Much more than unit tests keep at once, which is some 10 MB. A container has 64 MB, unless it is told otherwise."""


def keep_files_in_memory() -> None:
    """Has this process and its children keep temporary files in memory, if there is room and nobody chose a place: unit
    tests would wait for the disk an eighth of their time.
    """
    if "TMPDIR" in os.environ or not os.access(_MEMORY, os.W_OK) or shutil.disk_usage(_MEMORY).free < _ROOM_BYTES:
        return
    os.environ["TMPDIR"] = tempfile.tempdir = str(_MEMORY)
