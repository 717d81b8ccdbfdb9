"""Lanes of tests beside each other (tools/lanes.sh): what failed runs once more, alone, and is named."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.checkout import CHECKOUT

BY_STATE = """
from pathlib import Path

def test_that_passes(): pass

def test_that_needs_quiet():
    seen = Path(__file__).with_suffix(".seen")
    first, _ = not seen.exists(), seen.touch()
    assert not first
"""
NEVER = "def test_that_fails(): assert False"
SCRIPT = f"""\
. {CHECKOUT}/tools/lanes.sh
export PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 # half of the start
pytest=({sys.executable} -m pytest -q)
well() {{ tests well.py; }}
other() {{ tests other.py; }}
command() {{ false; }}
beside well other $1
echo "status $?, flaky: ${{flaky[*]}}, left: $(ls $caches | wc -l)"
"""


@pytest.mark.parametrize(
    ("other", "more", "said"),
    [
        (BY_STATE, "", "status 0, flaky: other.py::test_that_needs_quiet, left: 0"),
        (NEVER, "", "status 1, flaky: , left: 0"),
        (BY_STATE, "command", "status 2, flaky: , left: 0"),
        ("def test_that_passes(): pass", "", "status 0, flaky: , left: 0"),
    ],
)
def test_what_failed_runs_once_more(tmp_path: Path, other: str, more: str, said: str) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "well.py").write_text("def test_that_passes(): pass")
    (tmp_path / "other.py").write_text(other)
    ran = subprocess.run(["bash", "-c", SCRIPT, "bash", more], cwd=tmp_path, capture_output=True, text=True)
    assert ran.stdout.splitlines()[-1] == said, ran.stdout + ran.stderr
