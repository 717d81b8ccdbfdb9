"""Functions that several steps use."""

import json
from typing import Any

from llmops_kit.cli.rehearsal.cloud import THEIRS
from llmops_kit.cli.rehearsal.stage import Stage
from llmops_kit.core.errors import KitError

ENDPOINT = "assistant"
QUEUE = "nightly"
"""An endpoint whose requests and answers are files."""


def require(condition: object, what: str, where: str, fix: str = "see the step's log") -> None:
    """Checks a condition of a step.

    Raises:
        KitError: it does not hold.
    """
    if not condition:
        raise KitError(what, where=where, fix=fix)


def promote_version(stage: Stage, version: str, endpoint: str = ENDPOINT, stack: str = "dev") -> dict[str, Any]:
    """Promotes a version; with --force and a reason if its shortened recipe failed the gate."""
    reason = stage.notes.get("gate waived", "")
    words = ("--force", "--reason", reason) if reason else ()
    return stage.json("promote", version, "--endpoint", endpoint, *words, stack=stack)


def theirs(stage: Stage) -> dict[str, Any]:
    """Returns the descriptions of others' resources in the account."""
    return {name: d for name, d in stage.cloud.held().items() if THEIRS in json.dumps([name, d], default=str)}


def write_stack(stage: Stage, name: str) -> None:
    """Writes a stack's file unless it exists."""
    path = stage.world.project / f"Pulumi.{stage.world.stack(name)}.yaml"
    if path.exists():
        return
    from ruamel.yaml import YAML

    cloud = stage.cloud
    own = {
        **cloud.settings(),
        **stage.world.settings(),
        **stage.notes.get("places", {}).get(stage.world.stack(name), {}),
    }
    if boundary := stage.notes.get("boundary"):
        cloud.bound(own, boundary)
    settings = {"target": cloud.target, cloud.target: own, **stage.world.more_settings()}
    YAML().dump({"config": {f"{stage.file_project}:{key}": value for key, value in settings.items()}}, path)
