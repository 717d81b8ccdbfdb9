"""A provider that somebody planted in the state is run by no command, with the kit's engine or the user's."""

import base64
import copy
import json
import os
import pickle
import sys
from pathlib import Path
from typing import Any

import pytest
from pulumi.dynamic.dynamic import serialize_provider

from llmops_kit.cli.pulumi_engine.engine import ensure
from llmops_kit.infra.providers import provider
from tests.emulated.cli.conftest import Kit


class Planted:
    """Runs a command as soon as it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.marker}",)


def users_engine(folder: Path) -> Path:
    """An engine that counts as the user's: its dynamic provider is Pulumi's own, which executes what the state says."""
    folder.mkdir()
    engine = ensure().pulumi
    scripts = {
        "pulumi": f'exec {engine} "$@"',
        "pulumi-language-python": f'exec {engine.with_name("pulumi-language-python")} "$@"',
        "pulumi-resource-pulumi-python": f'exec {sys.executable} -u -m pulumi.dynamic "$@"',
    }
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    return folder


def deployed(kit: Kit) -> tuple[Path, str, dict[str, Any]]:
    """Deploys a stack of the target `local`; the file of its state, with its text, and parsed."""
    (kit.folder / "Pulumi.dev.yaml").write_text("config:\n  llmops:target: local\n")
    kit.run("up")
    state = kit.folder / ".llmops/state/.pulumi/stacks/llmops/dev.json"
    before = state.read_text()
    return state, before, json.loads(before)


@pytest.mark.vulnerability(10)
def test_vulnerability_10_no_command_runs_what_was_planted_in_the_state(kit: Kit) -> None:
    state, before, document = deployed(kit)
    marker = kit.folder / "owned"
    for resource in document["checkpoint"]["latest"]["resources"]:
        for properties in (resource.get("inputs") or {}, resource.get("outputs") or {}):
            if "__provider" in properties:
                properties["__provider"] = base64.b64encode(pickle.dumps(Planted(marker))).decode()
    users = f"{users_engine(kit.folder / 'engine')}{os.pathsep}{kit.environ['PATH']}"
    for path, command in ((kit.environ["PATH"], "down"), (users, "up")):
        kit.environ["PATH"] = path
        state.write_text(json.dumps(document))
        assert "somebody changed the stack's state" in kit.run(command, code=1)
        assert not marker.exists()
    state.write_text(before)
    kit.run("down")


@pytest.mark.vulnerability(16)
def test_vulnerability_16_a_state_deletes_no_file_of_somebody_else(
    kit: Kit, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Two files of the operator were deleted: the state had a signing key of their paths, the program none."""
    state, before, document = deployed(kit)
    resources = document["checkpoint"]["latest"]["resources"]
    planted = copy.deepcopy(next(each for each in resources if each["type"].endswith("llmops:SigningKey")))
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    theirs = elsewhere / "keys"
    theirs.mkdir()
    paths = {"private_key": str(theirs / "signing.key"), "public_key_file": str(theirs / "signing.pub")}
    for path in paths.values():
        Path(path).write_text("theirs")
    planted.update(urn=planted["urn"].rpartition("::")[0] + "::planted", protect=False)
    planted["inputs"].update(paths)
    planted["outputs"].update(paths)
    resources.append(planted)
    state.write_text(json.dumps(document))
    assert f"    removes {theirs / 'signing.key'}\n" in kit.run("plan")
    for command in ("up", "down"):
        text = kit.run(command, code=1)
        assert f"{elsewhere}: the state names a path" in text
    assert {path.read_text() for path in theirs.iterdir()} == {"theirs"}
    state.write_text(before)
    kit.run("down")


@pytest.mark.vulnerability(16)
@pytest.mark.parametrize("output", ["hosting", "store", "runs"])
def test_vulnerability_16_outputs_in_a_state_empty_no_folder_of_somebody_else(
    kit: Kit, tmp_path_factory: pytest.TempPathFactory, output: str
) -> None:
    """`down --data` removes folders that the stack's outputs name, and `down` stops the runs in one."""
    state, before, document = deployed(kit)
    (stack,) = (each for each in document["checkpoint"]["latest"]["resources"] if each["type"] == "pulumi:pulumi:Stack")
    theirs = tmp_path_factory.mktemp("elsewhere") / output
    (theirs / "models").mkdir(parents=True)
    (theirs / "models/file").write_text("theirs")
    if output == "hosting":
        stack["outputs"]["hosting"] = str(theirs)
    elif output == "store":
        stack["outputs"]["store"]["url"] = theirs.as_uri()
    else:
        stack["outputs"]["training"]["runs"] = str(theirs)
    state.write_text(json.dumps(document))
    for options in ([], ["--data", "dev"]):
        assert "not of this project's making" in kit.run("down", *options, code=1)
    assert (theirs / "models/file").read_text() == "theirs"
    state.write_text(before)
    kit.run("down", "--data", "dev")
    assert not (kit.folder / ".llmops/dev").exists()


@pytest.mark.vulnerability(16)
def test_vulnerability_16_a_provider_of_another_target_is_refused_under_another_stacks_name(kit: Kit) -> None:
    """The engine takes a resource's URN from the state, in which the stack can be one without a file."""
    state, before, document = deployed(kit)
    resources = document["checkpoint"]["latest"]["resources"]
    planted = copy.deepcopy(next(each for each in resources if each["type"].endswith("llmops:SigningKey")))
    kind = serialize_provider(provider("aws/account"))
    urn = planted["urn"].replace(":dev::", ":none::").rpartition("::")[0] + "::planted"
    planted.update(urn=urn, protect=False, parent="")
    for properties in ("inputs", "outputs"):
        planted[properties]["__provider"] = kind
    resources.append(planted)
    state.write_text(json.dumps(document))
    assert "the stack's state holds a resource of another target" in kit.run("down", code=1)
    state.write_text(before)
    kit.run("down")
