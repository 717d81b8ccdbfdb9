"""Steps of the removal: data is kept until its removal is requested by name; then nothing is left."""

import json
import os
from collections.abc import Iterable
from typing import Any

from llmops_kit.cli.rehearsal import leaks
from llmops_kit.cli.rehearsal.inventory import differences
from llmops_kit.cli.rehearsal.lifecycle.shared import require
from llmops_kit.cli.rehearsal.stage import Stage
from llmops_kit.cli.rehearsal.steps import Evidence, RehearsalStep
from llmops_kit.cli.stacks.project import Project
from llmops_kit.cli.stacks.stack import PulumiStack

_ERROR = "this is a bug in the kit; remove the leftovers by hand"


def secrets(stage: Stage) -> Evidence:
    """Searches files, states and processes for the clients' secrets and prompts while everything still runs."""
    world = stage.world
    known = [each for environ in (*world.environs.values(), dict(os.environ)) for each in leaks.secrets_of(environ)]
    files = (world.folder / name for name in stage.cloud.secret_files)
    own = [leaks.Known(f"the twin's {path.name}", path.read_text().strip()) for path in files if path.is_file()]
    known = sorted({*known, *own, *stage.known})
    processes = leaks.of_folder(world.folder, stage.timeline.begun_at)
    found = {
        *leaks.in_files(known, world.folder, stage.cloud.holds_secrets),
        *leaks.in_files(known, stage.logs.parent),
        *leaks.in_processes(known, processes, stage.cloud.holds_secrets),
        *(leak for stack in ("dev", "prod") for leak in _in_state(stage, stack, known)),
        *(leak for path in world.temporary for leak in leaks.in_files(known, path)),
    }
    where, fix = "the rehearsal's folder, logs and processes", "this is a bug in the kit; remove the file or process"
    require(not found, "; ".join(sorted(map(str, found))), where, fix)
    prompts = sum(each.kind == "prompt" for each in known)
    said = (
        f"{len(known) - prompts} secrets and {prompts} prompts: none is in a state, a log, the report or a temporary "
        f"file, nor in the environment or the words of {len(processes)} processes"
    )
    return Evidence(
        (
            said,
            *(f"accepted: {each.pattern}: {each.why}" for each in stage.cloud.holds_secrets),
        ),
        {"leaks": 0},
    )


def _in_state(stage: Stage, stack: str, known: Iterable[leaks.Known]) -> list[leaks.Leak]:
    """Returns the leaks in a stack's state as the engine exports it, with the outputs of each update; the cloud keeps
    the files.
    """
    name = stage.world.stack(stack)
    deployment = json.dumps(PulumiStack(Project(stage.world.project), name).export())
    return list(leaks.in_text(known, deployment.encode(), f"the state of stack {name}"))


def down(stage: Stage) -> Evidence:
    """Checks that plain `pulumi destroy` fails, since it would delete models, and that `llmops down` keeps them."""
    name = stage.world.stack("dev")
    stage.notes["prod"] = _of_prod(stage, stage.cloud.held())
    refused = stage.llmops("down", "--data", "another", code=1)
    require("is not the name of the stack" in refused, "another name was accepted", "`llmops down --data`")
    text = stage.pulumi("destroy", "--yes", code=1)
    require("llmops down" in text, "`pulumi destroy` does not name the fix", f"stack {name}")
    stage.llmops("down")
    cloud = stage.cloud
    kinds = {thing.rpartition(" ")[0] for thing in cloud.held() if cloud.is_of(thing, name)}
    require(kinds >= cloud.data_kinds, f"`llmops down` left only {sorted(kinds)}", f"stack {name}")
    running = sorted(kinds & cloud.running_kinds)
    require(not running, f"`llmops down` left {running}", f"stack {name}")
    return Evidence(("`pulumi destroy` failed, naming `llmops down`", f"kept: {', '.join(sorted(kinds))}"), {})


def down_data(stage: Stage) -> Evidence:
    """Removes everything, and compares the account with its initial state."""
    name = stage.world.stack("dev")
    stage.llmops("down", "--data", name)
    cloud = stage.cloud
    after = cloud.held()
    ours = sorted(thing for thing in after if cloud.is_of(thing, name))
    require(not ours, f"left behind: {', '.join(ours)}", "the account", _ERROR)
    require(
        _of_prod(stage, after) == stage.notes["prod"],
        "the second stack has changed",
        stage.world.stack("prod"),
        _ERROR,
    )
    if before := stage.notes.get("before"):
        prod = stage.world.stack("prod")
        orphans, changed = differences(before, after, lambda t: cloud.is_of(t, prod) or cloud.is_the_clouds(t))
        require(not orphans, f"left behind: {', '.join(orphans)}", "the account", _ERROR)
        require(not changed, f"changed or gone: {', '.join(changed)}", "things of others", _ERROR)
    said: tuple[str, ...] = (f"0 orphans: {len(after)} resources in the account are unchanged",)
    if waiting := cloud.waiting(name):
        said += (f"deleted, but recoverable for some days: {', '.join(waiting)}",)
    if stage.notes["prod"] and stage.has_endpoint("prod"):
        answer = stage.json("invoke", "Are you still there?", stack="prod")["choices"][0]["message"]["content"]
        return Evidence((*said, f"the second stack still answers: {answer.strip()}"), {"orphans": 0})
    return Evidence(said, {"orphans": 0})


def _of_prod(stage: Stage, held: dict[str, Any]) -> dict[str, Any]:
    name = stage.world.stack("prod")
    return {thing: document for thing, document in held.items() if stage.cloud.is_of(thing, name)}


STEPS = (
    RehearsalStep(
        "secrets",
        "Search for secrets",
        "no key, token, passphrase or prompt has leaked",
        "real",
        secrets,
        needs=("invoke",),
    ),
    RehearsalStep(
        "down",
        "Take down, and keep the data",
        "models and keys stay until their removal is requested by name",
        "emulated",
        down,
        needs=("up",),
    ),
    RehearsalStep(
        "down-data",
        "Take down with the data",
        "0 orphans; others' resources are unchanged",
        "emulated",
        down_data,
        needs=("down",),
    ),
)
