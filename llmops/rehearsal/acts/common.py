"""What several steps do."""

import json
from typing import Any

from contract.errors import KitError
from contract.outputs import AwsOutput
from llmops.rehearsal.inventory import inventory
from llmops.rehearsal.stage import Stage

REPOSITORY = "acme/assistant"
ENDPOINT = "assistant"
QUEUE = "nightly"
"""An endpoint whose requests and answers are files."""
THEIRS = "acme-payroll"
"""What others have in the account begins with it."""


def require(condition: object, what: str, where: str, fix: str = "see the step's log") -> None:
    """See that something holds.

    Raises:
        KitError: it does not.
    """
    if not condition:
        raise KitError(what, where=where, fix=fix)


def held(stage: Stage) -> dict[str, Any]:
    """What the account holds; the files in the bucket of states aside, which Pulumi itself writes."""
    found = inventory(stage.clients)
    for name, document in found.items():
        if name.startswith("bucket ") and "-state-" in name:
            document["keys"] = []
    return found


def theirs(stage: Stage) -> dict[str, Any]:
    """What others have in the account, described."""
    return {name: d for name, d in held(stage).items() if THEIRS in json.dumps([name, d], default=str)}


def write_stack(stage: Stage, name: str) -> None:
    """A stack's file, unless it is there."""
    path = stage.world.project / f"Pulumi.{stage.world.stack(name)}.yaml"
    if path.exists():
        return
    from ruamel.yaml import YAML

    aws: dict[str, Any] = {"region": stage.clients.caller.region, **stage.world.settings()}
    if boundary := stage.notes.get("boundary"):
        aws["permissions_boundary_arn"] = boundary
    settings = {"target": "aws", "aws": aws, **stage.world.more_settings()}
    YAML().dump({"config": {f"{stage.file_project}:{key}": value for key, value in settings.items()}}, path)


def outputs_of(stage: Stage, stack: str = "dev") -> AwsOutput:
    """What a stack says of its place on AWS."""
    return stage.platform(stack).aws
