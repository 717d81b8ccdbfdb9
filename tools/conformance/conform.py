"""Train and serve on each target, and compare the results."""

import json
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from llmops_kit.cli.chat_http import ask
from llmops_kit.cli.deploying.promotion import promote
from llmops_kit.cli.interfaces.platform import Platform, Say
from llmops_kit.cli.rehearsal.base_model import base_version
from llmops_kit.cli.rehearsal.recipes import shortened
from llmops_kit.cli.rehearsal.stage import Stage
from llmops_kit.cli.stacks.project import Project
from llmops_kit.clouds.targets import TARGETS, unknown_target
from llmops_kit.core.documents.model import ModelManifest
from llmops_kit.core.documents.recipe import Export, Recipe
from llmops_kit.core.errors import KitError, NotFoundError
from llmops_kit.core.hashes import sha256_bytes
from llmops_kit.core.layout import MANIFEST
from tools.conformance.questions import QUESTIONS, Question, offer_tools, questions_of, said, said_in_pieces
from tools.conformance.stages import STACK, settings_of, world_of
from tools.conformance.versions import VersionUnderTest

FOLDER = ".llmops/conformance"
_RECIPE = Path("conformance/one-thread.yaml")
_AT_ONCE = 8
"""Questions asked at the same time: together they share the engine's steps."""
_ROWS = 3
"""Rows of each suite that a training evaluates; few, since scores are not compared."""
_LOSS = re.compile(r"\bstep=(\d+) .*\bloss=([0-9.eE+-]+)")
Send = Callable[[Question], str]


@dataclass(frozen=True)
class TrainingOutcome:
    """Result of training on a target. `weights`: sha256 over the names and hashes of all safetensors files."""

    target: str
    steps: int
    first_loss: float
    last_loss: float
    curve: str
    """sha256 of every step with its loss, as the job printed them."""
    weights: str


@dataclass(frozen=True)
class Answers:
    """A version's answers to all of its questions through one API (`contract`). `equal` counts those that the first API
    of the first target gave too.
    """

    target: str
    contract: str
    model: str
    texts: tuple[str, ...]
    equal: int = 0


@dataclass
class Conformance:
    """Results of all targets. `versions`: the identity of each version that all targets served, by its name."""

    trainings: list[TrainingOutcome] = field(default_factory=list)
    answers: list[Answers] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def conforms(self) -> bool:
        same_weights = len({(t.curve, t.weights) for t in self.trainings}) <= 1
        return same_weights and all(a.equal == len(a.texts) for a in self.answers)


def conform(
    project: Project,
    say: Say,
    targets: Sequence[str],
    *,
    recipe: Path | None,
    steps: int = 0,
    stored: Sequence[VersionUnderTest] = (),
) -> Conformance:
    """Trains and serves on the targets, one after the other, each in its own folder.

    Args:
        project: whose code and images are used.
        say: told each step.
        targets: local, and clouds by their twins.
        recipe: trained on each target with one thread, so that its weights can be compared; the first target's version
            is served by all. None: nothing is trained.
        steps: optimizer steps that the recipe is shortened to; 0: all.
        stored: versions that are served as they are.

    Raises:
        KitError: there is no such target, or one of them can't train, deploy or answer.
    """
    if unknown := [t for t in targets if t not in TARGETS]:
        what, fix = unknown_target(unknown[0])
        raise NotFoundError(what, where="--target", fix=fix)
    made, began = Conformance(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="llmops-conformance-") as shelf:
        trained = _Trained(recipe.resolve(), steps, Path(shelf) / "version") if recipe else None
        for target in targets:
            folder = project.folder / FOLDER / f"{target}-{secrets.token_hex(3)}"
            world = world_of(target, project, folder)
            world.recipe = str(trained.recipe) if trained else ""
            stage = Stage(world, folder / "logs", say)
            try:
                world.open(say)
                _run_target(target, stage, trained, stored, made)
            finally:
                world.close()
    made.answers = list(_compared(made.answers))
    made.seconds = time.monotonic() - began
    return made


@dataclass
class _Trained:
    """A recipe that every target trains, and the first target's version."""

    recipe: Path
    steps: int
    folder: Path
    """Folder of the version that all targets serve, once it is trained."""
    version: VersionUnderTest | None = None

    def on(self, target: str, stage: Stage) -> tuple[TrainingOutcome, VersionUnderTest]:
        """Trains on a target; returns the outcome, and the version to serve."""
        recipe = _write_recipe(stage, self.recipe, self.steps, served=self.version is None)
        base = base_version(recipe, self.recipe.parent, stage.say)  # it was fetched before the world opened
        platform = stage.platform(STACK)
        platform.store().put_model(base, platform.sign)
        outcome = _train(target, stage)
        if self.version is None:
            _keep(stage, recipe.name, self.folder, base)
            questions = (*QUESTIONS, *_own_questions(stage))
            self.version = VersionUnderTest(recipe.name, self.folder, questions)
        return outcome, self.version


def _run_target(
    target: str, stage: Stage, trained: _Trained | None, stored: Sequence[VersionUnderTest], made: Conformance
) -> None:
    stage.say(f"{target}: deploying")
    _write_stack(target, stage)
    stage.llmops("up", who="admin")
    if TARGETS[target].is_cloud:
        stage.json("images", "build", who="admin")
        stage.llmops("up", who="admin")
    try:
        versions = list(stored)
        if trained:
            stage.say(f"{target}: training")
            outcome, version = trained.on(target, stage)
            made.trainings.append(outcome)
            versions.append(version)
        stage.say(f"{target}: serving")
        made.versions = {version.name: _identity(version.folder) for version in versions}
        made.answers += _serve(target, stage, versions)
    finally:
        stage.llmops("down", "--data", stage.world.stack(STACK), who="admin")


def _write_stack(target: str, stage: Stage) -> None:
    from ruamel.yaml import YAML

    path = stage.world.project / f"Pulumi.{stage.world.stack(STACK)}.yaml"
    settings = settings_of(target, stage)
    YAML().dump({"config": {f"{stage.file_project}:{key}": value for key, value in settings.items()}}, path)


def _write_recipe(stage: Stage, path: Path, steps: int, *, served: bool) -> Recipe:
    """Writes the recipe to train: with one thread, without a gate, and with few rows of each suite. Links the files
    beside it, which it may name. Skips the export to OpenVINO for a version that is not served: its weights are
    compared.
    """
    found = Recipe.load(path)
    training = shortened(found.training, steps) if steps else found.training
    suites = [
        suite.model_copy(update={"limit": min(suite.limit or _ROWS, _ROWS)})
        for suite in found.evaluation.suites
        if not suite.judged
    ]
    recipe = found.model_copy(
        update={
            "training": training.model_copy(update={"threads": 1}),
            "evaluation": found.evaluation.model_copy(update={"suites": suites, "gate": []}),
            "export": found.export if served else Export(openvino=False),
        }
    )
    folder = stage.world.project / _RECIPE.parent
    folder.mkdir()
    for beside in path.parent.iterdir():
        (folder / beside.name).symlink_to(beside)
    recipe.write(folder / _RECIPE.name)
    return recipe


def _train(target: str, stage: Stage) -> TrainingOutcome:
    command = ("train", str(_RECIPE), "--collected", str(stage.world.collected))
    stage.llmops(*command, who="admin")
    platform = stage.platform(STACK)
    run = platform.find()[0].spec
    curve = dict(_LOSS.findall("\n".join(platform.follow(run.id))))
    manifest = platform.store().manifest(platform.store().find(f"{run.recipe.name}@latest"))
    weights = {path: entry.sha256 for path, entry in manifest.files.items() if path.endswith(".safetensors")}
    facts = manifest.training
    if not (curve and weights and facts):
        raise KitError("its training left no losses or no weights", where=f"{target}, run {run.id}")
    return TrainingOutcome(target, facts.steps, facts.first_loss, facts.last_loss, _digest(curve), _digest(weights))


def _keep(stage: Stage, name: str, version: Path, base: Path) -> None:
    """Copies the version that all targets serve; adds tools to its chat template if it has none."""
    store = stage.platform(STACK).store()
    shutil.copytree(store.model_folder(store.find(f"{name}@latest").sha256), version)
    origin = ModelManifest.load(base / MANIFEST).lineage.origin
    if not (origin and origin.tools):
        offer_tools(version)


def _own_questions(stage: Stage) -> list[Question]:
    """Returns questions of the recipe's suites, from the dataset that the first target prepared."""
    from llmops_kit.cli.runs.receipts import checked_dataset

    platform = stage.platform(STACK)
    spec = platform.find()[0].spec
    return questions_of(spec.recipe.evaluation.suites, checked_dataset(platform.store(), spec.dataset))


def _identity(version: Path) -> str:
    return sha256_bytes((version / MANIFEST).read_bytes())


def _serve(target: str, stage: Stage, versions: Sequence[VersionUnderTest]) -> Iterator[Answers]:
    """Serves all versions at once, each by its own endpoint; yields each one's answers through each API."""
    platform, served = stage.platform(STACK), {}
    for number, version in enumerate(versions):
        ref = platform.store().put_model(version.folder, platform.sign)
        served[f"conformance-{number}"] = (version, ref.alias)
        # With a reason, since the version has no gate or may not have passed it.
        promote(platform, stage.file(STACK), ref.alias, f"conformance-{number}", "to compare the targets", stage.say)
    stage.edit(lambda config: [each.update(precision="f32") for each in config["endpoints"].values()], STACK)
    stage.llmops("up", who="admin")
    platform = stage.platform(STACK)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for endpoint, (version, alias) in served.items():
            requests = [{"model": alias} | question for question in version.questions]
            for contract, send in _contracts(target, stage, platform, endpoint):
                yield Answers(target, contract, version.name, tuple(pool.map(send, requests)))


def _contracts(target: str, stage: Stage, platform: Platform, endpoint: str) -> Iterator[tuple[str, Send]]:
    """Yields each API of an endpoint: its name, and a function that sends a question."""
    access = platform.access(endpoint, 1.0)
    url = access.url.removesuffix("/v1")
    yield "OpenAI", lambda request: said(next(ask(url, access.key, request)))
    yield "OpenAI stream", lambda request: said_in_pieces(ask(url, access.key, request | {"stream": True}))
    if TARGETS[target].is_cloud:
        send = stage.cloud.asker(platform.outputs, endpoint)
        name = stage.cloud.contract
        yield name, lambda request: said(json.loads(send(json.dumps(request).encode())))
        stream = {"stream": True}
        yield f"{name} stream", lambda request: said_in_pieces(platform.invoke(endpoint, request | stream))


def _compared(answers: Sequence[Answers]) -> Iterator[Answers]:
    first: dict[str, tuple[str, ...]] = {}
    for each in answers:
        texts = first.setdefault(each.model, each.texts)
        equal = sum(a == b for a, b in zip(each.texts, texts, strict=True))
        yield replace(each, equal=equal)


def _digest(document: Mapping[str, str]) -> str:
    return sha256_bytes(json.dumps(document, sort_keys=True).encode())
