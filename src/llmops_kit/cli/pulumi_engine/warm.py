"""Programs that start warm: while one of these is kept, the kit's own engine forks its language hosts from it."""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from llmops_kit.cli.pulumi_engine.version import FOLDER
from llmops_kit.cli.pulumi_engine.warm_host import SERVE, VARIABLE


@contextlib.contextmanager
def kept_warm() -> Iterator[None]:
    """Keeps a warm host for the engines that this process starts in the block: later programs skip their imports.

    It ends with this process, even if killed. Another engine's language host doesn't look for one.
    """
    before = os.environ.get(VARIABLE)
    if before and Path(before).is_socket():
        yield
        return
    with tempfile.TemporaryDirectory(prefix="llmops-warm-") as folder:
        path = str(Path(folder, "host"))
        server = subprocess.Popen(
            [sys.executable, FOLDER / "warm_host.py", SERVE, path], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        os.environ[VARIABLE] = path
        try:
            yield
        finally:
            os.environ.pop(VARIABLE, None)
            server.communicate()
