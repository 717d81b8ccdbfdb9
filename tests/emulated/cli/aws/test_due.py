"""Images that `llmops plan` announces and `llmops up` builds, of a stack on the twin, by the command line."""

import json
from pathlib import Path

from llmops_kit.cli.stacks.stack_file import StackFile
from llmops_kit.local_runtime import process_images
from tests.support.clouds.aws import Account, make_stack

STALE = f"process:training@sha256:{'0' * 64}"


def test_up_builds_the_images_that_its_plan_announces(account: Account, tmp_path: Path) -> None:
    stack = make_stack(account, tmp_path / "due", "due", images={"training": STALE})
    stack.serve("chat", stack.add_version("chatbot@1"))
    stack.configure()
    path = stack.folder / "Pulumi.due.yaml"
    before = path.read_text()
    planned = json.loads(stack.llmops("plan", "--json"))
    assert planned["images"] == [
        {"name": "serving", "why": "missing in the stack file", "pushed": False},
        {"name": "training", "why": "source changed", "pushed": False},
    ]
    assert planned["endpoints"][0]["change"] == "create", "the preview has the image that is not built yet"
    assert path.read_text() == before
    assert stack.outputs()["training"]["image"] == STALE

    stack.llmops("up")
    fresh = {name: process_images.reference(name) for name in ("training", "serving")}
    assert StackFile(path).settings("images").images.model_dump(include=set(fresh)) == fresh
    outputs = stack.outputs()
    assert (outputs["training"]["image"], outputs["endpoints"]["chat"]["image"]) == tuple(fresh.values())
    stack.llmops("down", "--data", "due")
