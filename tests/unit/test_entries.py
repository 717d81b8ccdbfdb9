"""What the kit's programs do before anything else, each in a process of its own."""

import subprocess
import sys

import pytest

_COMMAND = """
import sys
from llmops_kit.cli.__main__ import main
sys.argv = ["llmops", "--cwd", "/", "schema"]
try:
    main()
except SystemExit:
    pass
"""
_SERVER = """
from llmops_kit.serving.__main__ import main
main(["no command"])
"""
_TWIN = """
import tempfile
from pathlib import Path
from llmops_twins.core.process import prepare
with tempfile.TemporaryDirectory() as folder:
    prepare(Path(folder))
"""
_TRAINING = """
from llmops_kit.core.garbage import collect_garbage_again
from llmops_kit.training.process import prepare_process
usual = gc.get_threshold()
prepare_process()
importing = gc.get_threshold()
collect_garbage_again()
"""


def _after(code: str, expression: str) -> str:
    """Runs a program where core files are allowed; returns what an expression is then."""
    allow = "import gc, resource; resource.setrlimit(4, (resource.getrlimit(4)[1],) * 2)"
    program = f"{allow}\n{code}\nprint({expression})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1]


@pytest.mark.parametrize("code", [_COMMAND, _SERVER, _TWIN], ids=["llmops", "serving", "twin"])
@pytest.mark.scorecard("secrets")
def test_a_process_that_holds_keys_writes_no_core_file(code: str) -> None:
    """It sets its limit to 0, which the processes that it starts inherit."""
    assert _after(code, "resource.getrlimit(4)") == "(0, 0)"


def test_training_collects_garbage_rarely_until_it_is_told_that_all_is_imported() -> None:
    expression = "importing[0] >= 100 * usual[0], gc.get_threshold() == usual, gc.get_freeze_count() > 0"
    assert _after(_TRAINING, expression) == "True True True"
