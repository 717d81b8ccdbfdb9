"""From a recipe to a served model: images, training, gate, promotion, and requests through each API."""

import json
from collections.abc import Mapping
from typing import Any
from urllib.request import Request, urlopen

from llmops_kit.cli.images.stack_images import setting_of
from llmops_kit.cli.rehearsal.base_model import base_version
from llmops_kit.cli.rehearsal.lifecycle.shared import ENDPOINT, QUEUE, promote_version, require
from llmops_kit.cli.rehearsal.prerequisites import images_of
from llmops_kit.cli.rehearsal.recipes import in_words, is_right, question_of
from llmops_kit.cli.rehearsal.stage import Stage
from llmops_kit.cli.rehearsal.steps import Evidence, RehearsalStep
from llmops_kit.cli.runs.runs import is_between
from llmops_kit.core.documents.model import Golden
from llmops_kit.core.documents.recipe import ChatPage, Recipe
from llmops_kit.core.names import parse_promoted

_LONGEST_RUN = 6 * 3600.0
"""Timeout in seconds for a run that neither completes nor fails."""
_CHECKPOINT = "*checkpoints/*/complete.json"
"""File of a complete checkpoint. The job is interrupted at its first one, however fast it is."""


def images(stage: Stage) -> Evidence:
    """Builds or pushes the images of runs and endpoints, and pins them by digest."""
    names = images_of(Recipe.load(stage.world.project / stage.world.recipe))
    verb = "push" if stage.world.live and not stage.cloud.caller().twin else "build"
    built = stage.json("images", verb, *names)
    written = stage.file().settings("images").images.model_dump(exclude_unset=True)
    require(
        written == {setting_of(name): reference for name, reference in built.items()},
        "the stack file has other images than those that were built",
        str(stage.file().path),
    )
    stage.llmops("up")
    return Evidence(
        (
            *(f"{name}: {reference[:40]}…" for name, reference in built.items()),
            "written into the stack file by digest",
        ),
        {"images": sorted(built)},
    )


def train(stage: Stage) -> Evidence:
    """Trains on a spot machine that is interrupted once; kills the follower, and finishes the run by `runs collect`."""
    recipe_path = stage.world.project / stage.world.recipe
    recipe = Recipe.load(recipe_path)
    platform = stage.platform()
    base = platform.store().put_model(base_version(recipe, recipe_path.parent, stage.say), platform.sign)
    if "run" not in stage.notes:
        stage.world.fault("spot_reclaim", {"job": "*", "after_file": _CHECKPOINT, "times": 1})
        words = ("--collected", str(stage.world.collected), "--spot", "--detach")
        said = stage.llmops("train", stage.world.recipe, *words)
        stage.notes["run"] = next(line for line in said.splitlines() if line.startswith(f"{recipe.name}-"))
        stage.watch_and_kill(_is_reclaimed, "runs", "follow", stage.notes["run"])
        stage.timeline.mark("spot instance reclaimed")
    run = stage.notes["run"]
    state = stage.wait(lambda: _ended(platform, run), f"run {run}", _LONGEST_RUN)
    second: tuple[str, ...] = ()
    if state.status == "pending":
        stage.llmops("runs", "collect", who=stage.bearer(("train",)))  # it starts a job, which the promote role may not
        second = ("a second job evaluated what the first one trained: `llmops runs collect` started it",)
        state = stage.wait(lambda: _ended(platform, run), f"run {run}", _LONGEST_RUN)
    require(state.status == "completed", f"run {run} {state.status}: {state.failure}", "the training job")
    stage.llmops("runs", "collect")
    ref = platform.store().find(f"{recipe.name}@latest")
    manifest = platform.store().manifest(ref)
    require(manifest.lineage.run == run, f"{ref.alias} is not of run {run}", "`llmops runs collect`")
    stage.notes["version"] = ref.alias
    facts = manifest.training
    assert facts
    interrupted = stage.cloud.interruptions(stage.outputs(), run)
    require(interrupted, "its machine was not interrupted", f"run {run}")
    return Evidence(
        (
            f"base model {base.alias}: put into the store first, since jobs have no network",
            f"run {run}: {facts.steps} steps, loss {facts.first_loss:.2f} -> {facts.last_loss:.2f}",
            f"its machine was interrupted {interrupted} time(s), and it resumed from its checkpoint",
            *second,
            f"then its follower was killed; `llmops runs collect` created {ref.alias}",
        ),
        {"steps": facts.steps, "version": ref.alias},
        {"interrupted": interrupted, "training seconds": facts.seconds},
    )


def gate(stage: Stage) -> Evidence:
    """Checks that the gate decides, and that a version without evaluation can't be promoted.

    A shortened recipe may fail its gate: then the version is rejected, and later steps promote it with --force.
    """
    version = stage.notes["version"]
    manifest = stage.manifest(version)
    assert manifest.gate
    passed, shortened = manifest.gate.passed, stage.world.most_steps
    require(passed or shortened, f"the gate was not passed: {manifest.gate.reasons}", version)
    said: tuple[str, ...] = ()
    if not passed:
        text = stage.llmops("promote", version, "--endpoint", ENDPOINT, code=3)
        require("gate" in text, "a version that failed its gate was promoted without --force", version)
        stage.notes["gate waived"] = f"rehearsed after {shortened} steps"
        said = (
            f"{version} did not pass after {shortened} steps, and was rejected; the rehearsal continues with --force",
        )
    base = Recipe.load(stage.world.project / stage.world.recipe).base_model.name
    refused = stage.llmops("promote", f"{base}@latest", "--endpoint", ENDPOINT, code=3)
    require("was never evaluated" in refused, "a model without evaluation was promoted", base)
    scores = [f"{r.suite}: {r.before.value:.2f} -> {r.after.value:.2f}" for r in manifest.evaluation]
    return Evidence(
        (*scores, *manifest.gate.reasons, *said, f"{base}@latest was rejected: it was never evaluated"),
        {"passed": passed},
        {r.suite: r.after.value for r in manifest.evaluation},
    )


def promote(stage: Stage) -> Evidence:
    """Writes one line of the stack file."""
    version = stage.notes["version"]
    changed = promote_version(stage, version)
    if stage.cloud.files:
        promote_version(stage, version, QUEUE)
        stage.edit(lambda config: config["endpoints"][QUEUE].update(mode="async"))
    ref = parse_promoted(changed["after"])
    require(ref.alias == version, f"{changed['after']} was written", str(stage.file().path))
    return Evidence((f"endpoint {ENDPOINT}: {version}, by identity sha256:{ref.sha256[:12]}",), {"version": version})


def serve(stage: Stage) -> Evidence:
    """Deploys endpoints and checks that they are as declared."""
    stage.timeline.mark("first endpoints")
    stage.llmops("up")
    rows = {row["name"]: row for row in stage.json("status")["endpoints"]}
    require(rows, "there is no endpoint", "`llmops status`")
    for name, row in rows.items():
        require(row["ready"], f"{name} is {row['state']}", "`llmops status`")
        require(row["serves"] == stage.notes["version"], f"{name} serves {row['serves']}", "`llmops status`")
    return Evidence(
        tuple(f"{name}: {row['serves']}, {row['state']}" for name, row in rows.items()), {"ready": sorted(rows)}
    )


def invoke(stage: Stage) -> Evidence:
    """Sends plain and streaming requests, requests through files (if the cloud has that), and uses OpenAI's client."""
    golden = golden_of(stage)
    answers = asked(stage, golden)
    if stage.cloud.files:
        answers["async"] = _invoked(stage, QUEUE, golden)
    require_right(golden, answers)
    said = () if golden.is_telling else ("the version has no golden prompt with a known answer: any answer was right",)
    return Evidence(
        (*(f"{way}: {in_words(answer)}" for way, answer in answers.items()), *said), {"ways": sorted(answers)}
    )


def asked(stage: Stage, golden: Golden) -> dict[str, dict[str, Any]]:
    """Returns the answers to a prompt, by the way it was asked: plainly, streaming, and with OpenAI's client."""
    found = {"plain": _invoked(stage, ENDPOINT, golden)}
    question = golden.messages[-1].content
    if not golden.tools and "\n" not in question:  # `llmops chat` offers no tools, and takes each line as a question
        found["streaming"] = {"content": stage.llmops("chat", ENDPOINT, stdin=f"{question}\n")}
    access = stage.json("status", "--env", ENDPOINT, who=stage.bearer(("invoke",)))
    return found | {"OpenAI client": by_openai(access, golden)}


def require_right(golden: Golden, answers: Mapping[str, Mapping[str, Any]]) -> None:
    """Checks the answers to a golden prompt, by the way that it was asked.

    Raises:
        KitError: one is wrong.
    """
    wanted = [f"{call.name} {call.arguments}" for call in golden.calls] or golden.expect
    for way, answer in answers.items():
        require(is_right(golden, answer), f"the answer lacks {wanted}: {in_words(answer)!r}", f"asked {way}")


def _invoked(stage: Stage, endpoint: str, golden: Golden) -> dict[str, Any]:
    """Returns the answer to `llmops invoke`, which takes the tools that it offers from a recipe."""
    words: tuple[str, ...] = ()
    if golden.tools:
        path = stage.world.folder / "offered.yaml"
        recipe = Recipe.load(stage.world.project / stage.world.recipe)
        recipe.model_copy(update={"page": ChatPage(tools=golden.tools)}).write(path)
        words = ("--tools", str(path))
    return stage.json("invoke", *words, endpoint, golden.messages[-1].content)["choices"][0]["message"]


def by_openai(access: dict[str, str], golden: Golden) -> dict[str, Any]:
    """Returns the answer that an OpenAI client gets; without the package, that of the same request."""
    request: dict[str, Any] = {"model": access["model"], "messages": [golden.messages[-1].model_dump()]}
    request |= {"tools": golden.tools} if golden.tools else {}
    try:
        from openai import OpenAI
    except ImportError:
        headers = {"Authorization": f"Bearer {access['api_key']}", "Content-Type": "application/json"}
        url = f"{access['base_url'].rstrip('/')}/chat/completions"
        with urlopen(Request(url, json.dumps(request).encode(), headers), timeout=60) as answer:
            return json.load(answer)["choices"][0]["message"]
    with OpenAI(base_url=access["base_url"], api_key=access["api_key"]) as client:
        return client.chat.completions.create(**request).choices[0].message.model_dump()


def golden_of(stage: Stage) -> Golden:
    """Returns a prompt that the version answered correctly before; without one, a prompt to which any answer is
    right.
    """
    return question_of(stage.manifest(stage.notes["version"]))


def _is_reclaimed(line: str) -> bool:
    """Returns whether a follower's line says that the machine was reclaimed."""
    # A follower that polls too late misses that state, but sees the next attempt begin.
    return "taken back" in line or line.startswith("resume=")


def _ended(platform: Any, run: str) -> Any:
    """Returns a run's state if it has ended, or if its second job was not started yet; else None."""
    found = platform.find(run)[0]
    return found.state if found.state.status not in ("pending", "running") or is_between(found) else None


STEPS = (
    RehearsalStep(
        "images",
        "Build the images",
        "images are pinned by content",
        "real",
        images,
        needs=("up",),
    ),
    RehearsalStep(
        "train",
        "Train on spot, interrupted once",
        "a run survives the loss of its machine and its caller",
        "simulated",
        train,
        needs=("images",),
    ),
    RehearsalStep(
        "gate", "Evaluate", "a version that is not good enough is not promoted", "real", gate, needs=("train",)
    ),
    RehearsalStep(
        "promote", "Promote", "one line of the stack file selects the served version", "real", promote, needs=("gate",)
    ),
    RehearsalStep(
        "serve",
        "Deploy the endpoints",
        "the endpoints serve the promoted version",
        "emulated",
        serve,
        needs=("promote",),
    ),
    RehearsalStep("invoke", "Send requests", "each API returns the right answer", "emulated", invoke, needs=("serve",)),
)
