"""The stack works on a machine without a network: deployed, asked and taken down with loopback alone.

What it holds and runs is looked through for the endpoint's key and the prompt meanwhile.
"""

import json
import subprocess
import sys

import pytest

from llmops_kit.local_runtime import process_images
from tests.emulated.cli.conftest import Kit
from tests.support import no_network
from tests.support.checkout import CHECKOUT, IMPORT_PATH
from tests.support.tiny_models.models import tiny_model

PUT = """\
import os, sys
from pathlib import Path
from llmops_kit.cli.platforms.registry import open_platform
from llmops_kit.cli.stacks.project import Project
from llmops_kit.cli.stacks.stack import PulumiStack
platform = open_platform(PulumiStack(Project(Path.cwd()), "dev").outputs())
print(platform.store().put_model(Path(sys.argv[1]), platform.sign).alias)
"""
LOOK = """\
import sys
from pathlib import Path
from llmops_kit.cli.rehearsal import leaks
root, began = Path.cwd() / ".llmops", float(sys.argv[1])
key = (root / "dev/keys/chatbot.key").read_text().strip()
known = [leaks.Known("the endpoint's key", key), leaks.Known("the prompt", Path("prompt.txt").read_text(), "prompt")]
kept = [leaks.Accepted("dev/keys/*", "the stack's own keys, of mode 0600")]
processes = leaks.of_folder(root.parent, began)
found = [*leaks.in_files(known, root, kept), *leaks.in_processes(known, processes)]
print(len(processes), *found, sep="\\n", file=open("leaks.txt", "w"))
"""
PROMPT = "Anybody there, dear machine?"
SCRIPT = """\
began=$(date +%s)
llmops() { "$PYTHON" -m llmops_kit.cli "$@" --stack dev; }
llmops up
"$PYTHON" -c "$PUT" "$MODEL"
llmops promote tiny@1 --force --reason imported --endpoint chatbot
llmops up
llmops status --json > status.json
llmops invoke chatbot "$(cat prompt.txt)" --json > answer.json
llmops plan > plan.txt
"$PYTHON" -c "$LOOK" "$began"
llmops down
"""


@pytest.mark.scorecard("no-egress", "secrets")
def test_a_stack_lives_without_a_network(kit: Kit) -> None:
    within = no_network.command("bash", "-euo", "pipefail", "-c", SCRIPT)
    for name in ("training", "serving"):  # what has to be fetched once is here before
        process_images.build(name, lambda _: None)
    model = tiny_model()
    (kit.folder / "prompt.txt").write_text(PROMPT)
    (kit.folder / "Pulumi.dev.yaml").write_text("config:\n  llmops:target: local\n")
    own = {"PYTHON": sys.executable, "PUT": PUT, "LOOK": LOOK, "MODEL": str(model)}
    environ = {**kit.environ, **own, "PYTHONPATH": IMPORT_PATH}
    done = subprocess.run(
        within,
        cwd=kit.folder,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    (row,) = json.loads((kit.folder / "status.json").read_text())["endpoints"]
    assert (row["ready"], row["serves"]) == (True, "tiny@1")
    answer = json.loads((kit.folder / "answer.json").read_text())
    assert isinstance(answer["choices"][0]["message"]["content"], str)
    processes, *found = (kit.folder / "leaks.txt").read_text().splitlines()
    assert int(processes) >= 3  # supervisor, router and worker at least
    assert found == []
    assert kit.processes() == {}


@pytest.mark.scorecard("no-egress")
def test_the_namespace_has_no_way_out() -> None:
    """Else the test above would show nothing."""
    code = "import socket; socket.create_connection(('192.0.2.1', 80), 5)"
    words = no_network.command(sys.executable, "-c", code)
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=CHECKOUT)
    assert "Network is unreachable" in done.stderr
