"""The end: data are kept until they are asked for by name, and then nothing is left."""

from llmops.rehearsal.acts.common import held, require, theirs
from llmops.rehearsal.stage import Stage
from llmops.rehearsal.steps import Evidence, Step

_DATA = {"bucket", "alias", "repository"}


def down(stage: Stage) -> Evidence:
    """Plain `pulumi destroy` would lose models: it is refused; `llmops down` keeps them."""
    from llmops.project import Project
    from llmops.stacks import PulumiStack

    name = stage.world.stack("dev")
    refused = stage.llmops("down", "--data", "another", code=1)
    require("is not the name of the stack" in refused, "another name was not refused", "`llmops down --data`")
    text = stage.pulumi("destroy", "--yes", code=1)
    require("llmops down" in text, "`pulumi destroy` does not name the way out", f"stack {name}")
    stage.llmops("down")
    kinds = {thing.partition(" ")[0] for thing in held(stage) if f"-{name}-" in thing}
    require(kinds >= _DATA, f"`llmops down` left only {sorted(kinds)}", f"stack {name}")
    left = PulumiStack(Project(stage.world.project), name).outputs().store.url
    return Evidence(
        ("`pulumi destroy` was refused, naming `llmops down`", f"data are kept: {left}"), {"kept": sorted(kinds)}
    )


def down_data(stage: Stage) -> Evidence:
    """Everything goes, and the account is as it was."""
    stage.llmops("down", "--data", stage.world.stack("dev"))
    after, before = held(stage), stage.notes["before"]
    orphans = sorted(set(after) - set(before))
    require(
        not orphans,
        f"left behind: {', '.join(orphans)}",
        "the account",
        "remove them by hand; this is an error of the kit",
    )
    changed = sorted(name for name in before if after.get(name) != before[name])
    require(not changed, f"changed: {', '.join(changed)}", "things of others and of the second stack")
    require(theirs(stage) == stage.notes["theirs"], "things of others are not as they were", "the account")
    return Evidence((f"{len(after)} things are as they were, 0 orphans",), {"orphans": 0})


STEPS = (
    Step(
        "down",
        "Take it down; data refuse",
        "models and keys stay until they are asked for by name",
        "twin",
        down,
        needs=("up",),
    ),
    Step(
        "down-data",
        "Take it down with its data",
        "0 orphans; others' things are as they were",
        "twin",
        down_data,
        needs=("down",),
    ),
)
