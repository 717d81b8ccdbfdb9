"""From a shared account to a deployed stack without endpoints."""

from llmops_kit.cli.rehearsal.cloud import REPOSITORY, THEIRS
from llmops_kit.cli.rehearsal.lifecycle.shared import require, theirs, write_stack
from llmops_kit.cli.rehearsal.stage import Stage
from llmops_kit.cli.rehearsal.steps import Evidence, RehearsalStep


def used_account(stage: Stage) -> Evidence:
    """Puts resources of others and an earlier stack of the kit into the account."""
    if "theirs" not in stage.notes:
        _make_theirs(stage)
    done = stage.world.stack("prod")
    _backend(stage)
    write_stack(stage, "prod")
    stage.llmops("up", stack="prod", who="admin")
    stage.notes["theirs"] = theirs(stage)
    found = [name for name in stage.cloud.held() if stage.cloud.is_of(name, done)]
    return Evidence(
        (f"resources of others: {len(stage.notes['theirs'])}", f"a second stack, {done}: {len(found)} resources"),
        {"others": len(stage.notes["theirs"]), "second stack": len(found)},
    )


def bootstrap(stage: Stage) -> Evidence:
    """Repeats bootstrap on an account that has its bucket and key: creates the roles of the workflows."""
    stacks = [stage.world.stack(name) for name in ("prod", "dev")]
    words = ("--github", REPOSITORY, *stage.cloud.words_for(*stacks))
    made = stage.json("bootstrap", stage.cloud.target, *words, who="admin")
    for label, identity in made["roles"].items():
        stage.world.take(label, identity)
    stage.notes["places"] = made.get("stacks", {})
    stage.notes["boundary"] = made.get("boundary")
    states = {row["what"].split(" ")[0]: row["state"].split(":")[0] for row in made["steps"]}
    stage.notes["before"] = stage.cloud.held()
    return Evidence(
        tuple(f"{row['what']}: {row['state']}" for row in made["steps"]),
        {"steps": states, "roles": sorted(made["roles"])},
    )


def doctor(stage: Stage) -> Evidence:
    """Lists what this machine lacks for a stack of the cloud."""
    write_stack(stage, "dev")
    found = stage.json("doctor")
    counted = {state: [row["check"] for row in found if row["state"] == state] for state in ("ok", "note")}
    return Evidence(
        (f"{len(counted['ok'])} checks are fine; to note: {', '.join(counted['note']) or 'nothing'}",),
        {"missing": []},
    )


def plan(stage: Stage) -> Evidence:
    """Plans `up` under a read-only role."""
    write_stack(stage, "dev")
    before = stage.cloud.held()
    made = stage.json("plan", who="deploy")
    require(stage.cloud.held() == before, "a plan changed the account", "inventory before and after it")
    cost = made["usd_an_hour"]
    require(cost["idle"] is not None, "no price of the stack is known", "llmops plan prices show")
    return Evidence(
        (
            f"{len(made['changes'])} resources would be created, none was",
            f"at least ${cost['idle']:.4f} an hour without endpoints; unknown: {', '.join(cost['without'])}",
        ),
        {},
        {"changes": len(made["changes"]), "usd an hour": cost["idle"]},
    )


def up(stage: Stage) -> Evidence:
    """Runs a first `up` without the permission to create a repository, which fails and names it; with the permission,
    the second one resumes.
    """
    said: tuple[str, ...] = ()
    if not stage.world.live and not stage.notes.get("refused once"):
        said = (_refused(stage),)
        stage.notes["refused once"] = True
    stage.llmops("up")
    stage.notes["roles made"] = stage.timeline.now()
    stage.world.know(stage.cloud.roles_of(stage.outputs()))
    left = stage.json("plan", who="preview")["changes"]
    require(not left, f"a second plan has changes: {left}", "stack dev")
    return Evidence((*said, "the second `up` resumed; a plan shows no changes"), {"left": 0})


def _refused(stage: Stage) -> str:
    taken = stage.cloud.withheld
    stage.world.deny("deploy", taken)
    try:
        text = stage.llmops("up", code=1)
    finally:
        stage.world.give_back("deploy", taken)
    require(taken in text, f"the error does not name {taken}", "`llmops up`")
    return f"the first `up` failed, naming the missing permission: {taken}"


def _make_theirs(stage: Stage) -> None:
    if not any(THEIRS in name for name in stage.cloud.held()):
        stage.cloud.make_theirs()


def _backend(stage: Stage) -> None:
    """Configures the state backend, in the account's bucket, for all stacks of the rehearsal."""
    words = stage.cloud.words_for(stage.world.stack("prod"))
    made = stage.json("bootstrap", stage.cloud.target, *words, who="admin", stack="prod")
    stage.notes["places"] = made.get("stacks", {})
    stage.world.use_backend(made["backend"], made["secrets_provider"])


STEPS = (
    RehearsalStep(
        "account",
        "Set up a shared account, with a second stack",
        "existing resources stay unchanged, which the end checks",
        "emulated",
        used_account,
    ),
    RehearsalStep(
        "bootstrap",
        "Bootstrap the account",
        "`llmops bootstrap` keeps what exists, and its roles suffice for all later steps",
        "emulated",
        bootstrap,
        needs=("account",),
    ),
    RehearsalStep("doctor", "Check this machine", "nothing required is missing", "real", doctor, needs=("bootstrap",)),
    RehearsalStep(
        "plan",
        "Plan, with cost",
        "the plan changes nothing, and shows prices",
        "emulated",
        plan,
        needs=("bootstrap",),
    ),
    RehearsalStep(
        "up",
        "Deploy, with a first attempt that fails",
        "the error names the missing permission; the next `up` resumes",
        "emulated",
        up,
        needs=("plan",),
    ),
)
