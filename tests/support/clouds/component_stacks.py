"""Stacks of the example programs that use the kit's components, on a twin of a cloud."""

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

from ruamel.yaml import YAML

from llmops_kit.core.documents.outputs import StackOutputs
from tests.support.checkout import CHECKOUT
from tests.support.clouds.twin_stacks import SERVING, TRAINING, TwinStack
from twins.tests.support.processes import Twin

SECOND = """
second = ModelStore("others", ModelStoreArgs(settings=store.settings))
pulumi.export("second", second.url)
if model:
    other = ModelEndpointArgs(store=store, endpoint=entry, images=images)
    pulumi.export("second_url", ModelEndpoint("translator", other).url)
"""
"""What another user adds to the example: a second store, and a second endpoint of the first store's."""


@dataclass(kw_only=True)
class ComponentStack(TwinStack[Twin], Generic[Twin]):
    """A stack of the example program of a cloud."""

    cloud: str
    added: str = ""
    """Statements at the end of the program."""

    def make(self) -> None:
        """Writes the project, and makes the stack in its backend."""
        self.folder.mkdir(exist_ok=True)
        example = CHECKOUT / "examples/components" / self.cloud
        text = (example / "Pulumi.yaml").read_text().replace("virtualenv: .venv", f"virtualenv: {sys.prefix}")
        (self.folder / "Pulumi.yaml").write_text(text)
        shutil.copy(example / "__main__.py", self.folder)
        with (self.folder / "__main__.py").open("a") as file:
            file.write(self.added)
        self.configure()
        self.pulumi("stack", "init")

    def configure(self) -> None:
        """Writes the stack's file."""
        config = {f"office:{key}": value for key, value in self.settings.items()}
        YAML().dump({"config": config}, self.folder / f"Pulumi.{self.name}.yaml")

    def outputs(self) -> dict[str, Any]:
        """The outputs that `llmops` reads."""
        fields = {"schema", *StackOutputs.model_fields}
        return {name: value for name, value in self.exported().items() if name in fields}

    def exported(self) -> dict[str, Any]:
        """All outputs, the program's own too."""
        return super().outputs()

    def resources(self) -> list[dict[str, Any]]:
        """The resources in the state."""
        return json.loads(self.state())["deployment"]["resources"]

    def parents(self) -> dict[str, set[str]]:
        """Component -> the names of what is right below it."""
        found: dict[str, set[str]] = {}
        for resource in self.resources():
            found.setdefault(resource.get("parent", "").rpartition("::")[2], set()).add(
                resource["urn"].rpartition("::")[2]
            )
        return found


def make_component_stack(twin: Twin, folder: Path, cloud: str, added: str = "") -> ComponentStack[Twin]:
    """Makes a stack of an example program, which is not deployed yet."""
    settings = {"target": cloud, "serving": SERVING, "training": TRAINING, "waived": "true"}
    stack = ComponentStack(folder, "dev", twin.environ, settings=settings, twin=twin, cloud=cloud, added=added)
    stack.make()
    return stack


def require_a_life(stack: ComponentStack[Any]) -> None:
    """Goes through the life of a stack of the example: its first update, two endpoints, no change, and its end."""
    stack.up()
    first, second = (stack.exported()[name] for name in ("store", "second"))
    assert first["url"] != second
    stack.settings["model"] = stack.add_version("chatbot@1")
    stack.up()
    outputs = stack.exported()
    assert outputs["url"]
    assert outputs["second_url"]
    assert outputs["url"] != outputs["second_url"]
    below = stack.parents()
    assert {"models", "others", "training", "assistant", "translator"} <= below["office-dev"]
    assert "models-store (llmops down keeps it)" in below["models"]
    assert "others-store (llmops down keeps it)" in below["others"]
    assert "endpoint-assistant" in below["assistant"]
    assert "endpoint-translator" in below["translator"]
    assert stack.changes() == {}
    listed = json.loads(stack.llmops("status", "--json"))
    assert [(each["name"], each["state"]) for each in listed["endpoints"]] == [("assistant", "ready")]
    stack.pulumi("destroy", "--yes", "--skip-preview", "--exclude-protected")
    kept = {resource["urn"].rpartition("::")[2] for resource in stack.resources() if resource.get("protect")}
    assert {"models-store (llmops down keeps it)", "others-store (llmops down keeps it)"} <= kept
    assert not [each for each in stack.resources() if "ModelEndpoint" in each["urn"]]
