"""The steps of a smoke test, in their order. Steps that rehearsals have too are the rehearsal's own."""

from collections.abc import Callable

from llmops_kit.cli.rehearsal.base_model import base_version
from llmops_kit.cli.rehearsal.lifecycle import day_two, first_deployment, first_model, teardown
from llmops_kit.cli.rehearsal.lifecycle.shared import ENDPOINT, promote_version, require, write_stack
from llmops_kit.cli.rehearsal.load import Load
from llmops_kit.cli.rehearsal.recipes import in_words
from llmops_kit.cli.rehearsal.smoke.image import other_image
from llmops_kit.cli.rehearsal.smoke.world import SmokeWorld
from llmops_kit.cli.rehearsal.stage import Stage
from llmops_kit.cli.rehearsal.steps import Evidence, RehearsalStep
from llmops_kit.cli.stacks.project import Project
from llmops_kit.cli.stacks.stack import PulumiStack
from llmops_kit.core.documents.recipe import Recipe

DEPLOY, DOWN, TAKE_DOWN = "deploy", "down", "take-down"


def account(stage: Stage) -> Evidence:
    """Records who calls, and what exists before anything is created."""
    world = _world(stage)
    caller, found = stage.cloud.caller(), sorted(stage.cloud.held())
    world.progress.before = world.progress.before or found
    return Evidence(
        (
            f"{caller.account}, {caller.region}",
            f"{len(found)} things are there, of the kinds that the kit uses",
            f"what is made is called {world.id}, and expires {_when(stage)}",
        ),
        {},
        {"things": len(found)},
    )


def bootstrap(stage: Stage) -> Evidence:
    """Creates the storage of states and the key of their secrets; later steps keep their states there."""
    world = _world(stage)
    made = stage.json("bootstrap", stage.cloud.target, *stage.cloud.place_words(), who="admin")
    world.progress.backend, world.progress.secrets_provider = made["backend"], made["secrets_provider"]
    world.use_backend(made["backend"], made["secrets_provider"])
    return Evidence(tuple(f"{row['what']}: {row['state']}" for row in made["steps"]), {"steps": len(made["steps"])})


def deploy(stage: Stage) -> Evidence:
    """Plans with costs, deploys, and checks that a second plan has no changes."""
    write_stack(stage, "dev")
    planned = stage.json("plan")
    done = first_deployment.up(stage)
    idle = planned["usd_an_hour"]["idle"]
    said = f"{len(planned['changes'])} resources; at least ${idle or 0:.4f} an hour without endpoints"
    return Evidence((said, *done.said), done.facts, {"resources": len(planned["changes"])})


def train(stage: Stage) -> Evidence:
    """Trains on CPUs, and waits for the run."""
    path = stage.world.project / stage.world.recipe
    recipe, platform = Recipe.load(path), stage.platform()
    platform.store().put_model(base_version(recipe, path.parent, stage.say), platform.sign)
    stage.llmops("train", stage.world.recipe)
    ref = platform.store().find(f"{recipe.name}@latest")
    manifest = platform.store().manifest(ref)
    stage.notes |= {"version": ref.alias, "run": manifest.lineage.run}
    facts = manifest.training
    assert facts
    unregistered = [each.alias for each in platform.unregistered()]
    stage.notes["unregistered"] = unregistered
    return Evidence(
        (
            f"run {manifest.lineage.run}: {facts.steps} steps, loss {facts.first_loss:.2f} -> {facts.last_loss:.2f}",
            f"{ref.alias} is in the store, signed",
            *(f"not in the cloud's own registry: {alias}" for alias in unregistered),
        ),
        {"steps": facts.steps, "version": ref.alias},
        {"training seconds": facts.seconds},
    )


def serve(stage: Stage) -> Evidence:
    """Writes one line of the stack file and deploys an endpoint on a small machine without accelerator."""
    promote_version(stage, stage.notes["version"])
    return first_model.serve(stage)


def ask(stage: Stage) -> Evidence:
    """Sends requests through the cloud's own API, with streaming, and with OpenAI's client."""
    golden = first_model.golden_of(stage)
    answers = first_model.asked(stage, golden)
    first_model.require_right(golden, answers)
    return Evidence(tuple(f"{way}: {in_words(answer)}" for way, answer in answers.items()), {"ways": sorted(answers)})


def change_image(stage: Stage) -> Evidence:
    """Deploys another image of the same server, and requires that no request fails meanwhile."""
    image = other_image(stage)
    stage.edit(lambda config: config["images"].update(serving=image))
    stage.edit(lambda config: stage.cloud.hasten(config["endpoints"][ENDPOINT]))
    with Load(stage, ENDPOINT, first_model.golden_of(stage).messages[-1].content) as load:
        load.answered(3)
        stage.timeline.mark("another image comes")
        stage.llmops("up")
        stage.timeline.mark("it is there")
        load.answered(3)
    failed = load.failed
    require(
        not failed, f"{len(failed)} of {load.count} requests failed: {failed[0].words if failed else ''}", "the load"
    )
    served = stage.endpoint_row(ENDPOINT)["image"]
    require(served == image, f"{served} serves", "`llmops status`")
    return Evidence(
        (f"{load.count} requests meanwhile, none failed; median {load.median * 1000:.0f} ms",),
        {"failed requests": 0},
        {"requests": load.count, "median seconds": load.median},
    )


def down_data(stage: Stage) -> Evidence:
    """Removes everything as in a rehearsal, unless an earlier process did it before it was killed."""
    state = PulumiStack(Project(stage.world.project), stage.world.stack("dev")).export()
    if not state.get("resources"):
        return Evidence(("the stack had nothing left",), {"orphans": 0})
    return teardown.down_data(stage)


def up_again(stage: Stage) -> Evidence:
    """Deploys the same names again, without endpoints; first recovers deleted resources that reserve their names."""
    stack = stage.world.stack("dev")
    stage.edit(lambda config: [config.pop(key, None) for key in ("endpoints", "images")])  # they went with the data
    back = stage.cloud.bring_back(stack)
    stage.llmops("up")
    left = [] if back else stage.json("plan")["changes"]
    if back or left:  # the first update adopts recovered resources unchanged, the second one changes them
        stage.llmops("up")
        left = stage.json("plan")["changes"]
    require(not left, f"a plan has changes: {left}", f"stack {stack}")
    said = (f"recovered, since it keeps its name: {', '.join(back)}",) if back else ()
    return Evidence((*said, "the same names were taken again"), {"left": 0, "recovered": len(back)})


def bring_back(stage: Stage) -> Evidence:
    """Deploys again after a failure that stopped the machines, or after the time was extended."""
    version = stage.notes.get("version", "")
    if version and stage.has_endpoint("dev"):
        promote_version(stage, version)  # the failure may have left a worse one
    stage.llmops("up")
    _world(stage).progress.stopped = False
    return Evidence(("what was stopped is there again", f"it expires {_when(stage)}"))


def take_down(stage: Stage) -> Evidence:
    """Removes everything that was created, and checks the account again."""
    world = _world(stage)
    waiting, new = world.take_down()
    return Evidence(
        (
            f"nothing in the account is called {world.id}, and nothing carries its tags",
            *(f"found by its tags, and removed: {line}" for line in world.swept),
            *(f"deleted, and kept by the cloud for some days: {thing}" for thing in waiting),
            *(f"new since the begin, by others or by the cloud: {thing}" for thing in new),
        ),
        {"left": 0},
    )


def _when(stage: Stage) -> str:
    return f"at {_world(stage).end:%H:%M} UTC on {_world(stage).end:%Y-%m-%d}"


def _world(stage: Stage) -> SmokeWorld:
    assert isinstance(stage.world, SmokeWorld)
    return stage.world


def _step(id_: str, title: str, proves: str, run: Callable[[Stage], Evidence], *needs: str) -> RehearsalStep:
    return RehearsalStep(id_, title, proves, "real", run, needs)


STEPS: tuple[RehearsalStep, ...] = (
    _step("account", "Look at the account", "nothing is made yet", account),
    _step("bootstrap", "Make the account ready", "a place of states, and a key of their secrets", bootstrap, "account"),
    _step(DEPLOY, "Deploy without endpoints", "what `plan` said is made, and nothing is left", deploy, "bootstrap"),
    _step("push", "Build and push the images", "the cloud takes the images, by digest", first_model.images, DEPLOY),
    _step("train", "Train on CPUs", "a run goes from recipe to a signed version", train, "push"),
    _step("gate", "Evaluate", "what is not good enough is not promoted", first_model.gate, "train"),
    _step("serve", "Deploy an endpoint on a small machine", "what serves is what was asked for", serve, "gate"),
    _step("ask", "Ask", "each way of asking gets the right answer", ask, "serve"),
    _step(
        "worse",
        "Force a worse version; its quality rolls it back",
        "what only answers can show is seen, undone and remembered",
        day_two.bad_version,
        "ask",
    ),
    _step("image", "Change the image under load", "no request fails while the image changes", change_image, "ask"),
    _step("drift", "Change an alarm by hand", "it is found, and put right", day_two.drift, "serve"),
    _step(
        DOWN, "Take it down; data stay", "models and keys stay until they are asked for by name", teardown.down, DEPLOY
    ),
    _step("down-data", "Take it down with its data", "nothing of the stack is left", down_data, DOWN),
    _step("up-again", "Deploy again", "what was deleted blocks no name", up_again, "down-data"),
)
END = _step(TAKE_DOWN, "Take everything down, and prove it", "nothing is left in the account", take_down)
BACK = _step("bring-back", "Bring back what was stopped", "a failure costs its own step alone", bring_back)
