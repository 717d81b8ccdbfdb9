"""The language host's changes to the SDK."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.support.checkout import CHECKOUT

_CANCELED = """
import json, sys
sys.path.insert(0, sys.argv[1])
import grpc, language_host
from pulumi.runtime.settings import handle_grpc_error

class Failed(grpc.RpcError):
    def __init__(self, code):
        self.code, self.details = lambda: code, lambda: "context canceled"

raised = []
for code in grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL:
    try:
        handle_grpc_error(Failed(code))
    except Exception as error:
        raised.append([type(error).__name__, str(error)])
print(json.dumps(raised))
"""

_PLUGIN = """
import sys
from types import SimpleNamespace
sys.path.insert(0, sys.argv[1])
import language_host

folder, callbacks = sys.argv[2], []
named = {"virtualenv": SimpleNamespace(string_value="venv")}
info = SimpleNamespace(program_directory=folder, root_directory=folder, options=SimpleNamespace(fields=named))
request = SimpleNamespace(kind="analyzer", env=[], args=[], pwd=folder, info=info)
host = language_host.LanguageHost("127.0.0.1:1", lambda: None)
said = host.RunPlugin(request, SimpleNamespace(add_callback=callbacks.append))
print(next(said).stdout.decode().strip())
for called in callbacks:
    called()
print(*[each.exitcode for each in said])
"""


_MISSING = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import language_host, pulumi

for entry in map(Path, sys.argv[2:]):
    try:
        language_host._run_program(entry)
    except pulumi.RunError as error:
        print(error)
"""


def test_a_folder_without_a_program_gets_a_sentence_and_no_other_program(tmp_path: Path) -> None:
    """runpy would take the `__main__.py` of any folder on sys.path, such as that of a checkout of the kit."""
    other = tmp_path / "on-path"
    other.mkdir()
    (other / "__main__.py").write_text("print('another program')\n")
    host = str(CHECKOUT / "src/llmops_kit/cli/pulumi_engine")
    command = [sys.executable, "-c", _MISSING, host, str(tmp_path), str(tmp_path / "deploy.py"), str(other)]
    environ = {**os.environ, "PYTHONPATH": str(other)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environ)
    folder, fix, file, _, ran = done.stdout.splitlines()
    assert folder == f"{tmp_path}/__main__.py: the project has no program, which says what `up` deploys"
    assert fix.startswith("  fix: write its two lines, `from llmops_kit.infra.__main__ import main` and `main()`")
    assert file.startswith(f"{tmp_path}/deploy.py: ")
    assert ran == "another program"


def test_a_policy_pack_ends_with_the_engine_that_asked_for_it(tmp_path: Path) -> None:
    python = tmp_path / "venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\necho judging\nexec sleep 600\n")
    python.chmod(0o755)
    command = [sys.executable, "-c", _PLUGIN, str(CHECKOUT / "src/llmops_kit/cli/pulumi_engine"), str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert ended.stdout.split() == ["judging", "-9"]


def test_a_canceled_program_gets_a_message_and_no_traceback() -> None:
    """Of a RunError, the SDK shows the message alone."""
    command = [sys.executable, "-c", _CANCELED, str(CHECKOUT / "src/llmops_kit/cli/pulumi_engine")]
    canceled, unavailable, other = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert canceled == ["RunError", "the engine canceled the program"]
    assert unavailable[0] == "RunError"
    assert other == ["Exception", "context canceled"]
