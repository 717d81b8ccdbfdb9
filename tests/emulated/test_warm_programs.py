"""The warm host of emulated tests: other tests of the same process don't see it."""

import os
import subprocess
import sys
from pathlib import Path

from llmops_kit.cli.pulumi_engine.warm_host import VARIABLE
from tests.support.checkout import IMPORT_PATH

_SEEN = f"import os\n\n\ndef test_it():\n    assert {VARIABLE!r} in os.environ\n"
_UNSEEN = _SEEN.replace(" in ", " not in ")


def test_emulated_tests_alone_see_the_host_that_is_kept_for_them(tmp_path: Path) -> None:
    tests = {"emulated/test_a.py": _SEEN, "unit/test_b.py": _UNSEEN, "emulated/test_c.py": _SEEN}
    tests["unit/test_d.py"] = _UNSEEN
    for name, text in {"emulated/conftest.py": "from tests.emulated.conftest import *\n", **tests}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", VARIABLE))}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(
        command, cwd=tmp_path, env=environ | {"PYTHONPATH": IMPORT_PATH}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout
