"""The language host's changes to the SDK."""

import json
import subprocess
import sys

from tests.support.checkout import CHECKOUT

_SCRIPT = """
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


def test_a_canceled_program_gets_a_message_and_no_traceback() -> None:
    """Of a RunError, the SDK shows the message alone."""
    command = [sys.executable, "-c", _SCRIPT, str(CHECKOUT / "llmops/pulumi_engine")]
    canceled, unavailable, other = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert canceled == ["RunError", "the engine canceled the program"]
    assert unavailable[0] == "RunError"
    assert other == ["Exception", "context canceled"]
