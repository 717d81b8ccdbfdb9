"""Train and serve on each target, and compare what comes out."""

import json
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from clouds.targets import TARGETS, unknown_target
from contract.documents.model import ModelManifest
from contract.documents.recipe import Recipe
from contract.errors import KitError, NotFoundError
from contract.integrity.digest import sha256_bytes
from contract.layout import MANIFEST
from llmops.chat_http import ask
from llmops.conformance.questions import QUESTIONS, Question, offer_tools, questions_of, said, said_in_pieces
from llmops.conformance.stages import STACK, settings_of, world_of
from llmops.platforms.platform import Platform, Say
from llmops.rehearsal.base_model import base_version
from llmops.rehearsal.stage import Stage
from llmops.stacks.project import Project

FOLDER = ".llmops/conformance"
_ENDPOINT = "conformance"
_RECIPE = Path("conformance/one-thread.yaml")
_AT_ONCE = 8
"""Questions asked at the same time: together they share the engine's steps."""
_LOSS = re.compile(r"\bstep=(\d+) .*\bloss=([0-9.eE+-]+)")
Send = Callable[[Question], str]


@dataclass(frozen=True)
class TrainingOutcome:
    """What a target made of the recipe. Weights: sha256 over the names and hashes of all safetensors files."""

    target: str
    steps: int
    first_loss: float
    last_loss: float
    curve: str
    """sha256 of every step with its loss, as the job printed them."""
    weights: str


@dataclass(frozen=True)
class Answers:
    """What one contract answered to all questions, and how many answers equal the first contract's."""

    target: str
    contract: str
    texts: tuple[str, ...]
    equal: int = 0


@dataclass
class Conformance:
    """What came out. `version` is the identity of the version that all targets served."""

    trainings: list[TrainingOutcome] = field(default_factory=list)
    answers: list[Answers] = field(default_factory=list)
    version: str = ""
    seconds: float = 0.0

    @property
    def conforms(self) -> bool:
        same_weights = len({(t.curve, t.weights) for t in self.trainings}) <= 1
        return same_weights and all(a.equal == len(a.texts) for a in self.answers)


def conform(project: Project, recipe: Path, say: Say, targets: Sequence[str]) -> Conformance:
    """Go through the targets, one after the other, each in a place of its own.

    Args:
        project: whose code and images are tried.
        recipe: trained with one thread, so that its weights can be compared.
        say: told each step.
        targets: local, and clouds by their twins.

    Raises:
        KitError: there is no such target, or one of them can't train, deploy or answer.
    """
    if unknown := [t for t in targets if t not in TARGETS]:
        what, fix = unknown_target(unknown[0])
        raise NotFoundError(what, where="--target", fix=fix)
    made, began = Conformance(), time.monotonic()
    # Fetched here: the places of the targets reach no network.
    base = base_version(Recipe.load(recipe), recipe.parent, say)
    questions = list(QUESTIONS)
    with tempfile.TemporaryDirectory(prefix="llmops-conformance-") as shelf:
        for target in targets:
            folder = project.folder / FOLDER / f"{target}-{secrets.token_hex(3)}"
            world = world_of(target, project, folder)
            stage = Stage(world, folder / "logs", say)
            try:
                world.open(say)
                _go_through(target, stage, recipe, base, Path(shelf) / "version", questions, made)
            finally:
                world.close()
    made.answers = list(_compared(made.answers))
    made.seconds = time.monotonic() - began
    return made


def _go_through(
    target: str, stage: Stage, recipe: Path, base: Path, version: Path, questions: list[Question], made: Conformance
) -> None:
    stage.say(f"{target}: deploying")
    _write_stack(target, stage)
    _write_recipe(stage, recipe)
    stage.llmops("up", who="admin")
    if TARGETS[target].is_cloud:
        stage.json("images", "build", who="admin")
        stage.llmops("up", who="admin")
    try:
        stage.say(f"{target}: training")
        platform = stage.platform(STACK)
        platform.store().put_model(base, platform.sign)
        made.trainings.append(_train(target, stage))
        if not version.exists():
            _keep(stage, version, base)
            questions += _own_questions(stage)
        stage.say(f"{target}: serving")
        made.version = made.version or _identity(version)
        made.answers += _serve(target, stage, version, questions)
    finally:
        stage.llmops("down", "--data", stage.world.stack(STACK), who="admin")


def _write_stack(target: str, stage: Stage) -> None:
    from ruamel.yaml import YAML

    path = stage.world.project / f"Pulumi.{stage.world.stack(STACK)}.yaml"
    settings = settings_of(target, stage)
    YAML().dump({"config": {f"{stage.file_project}:{key}": value for key, value in settings.items()}}, path)


def _write_recipe(stage: Stage, recipe: Path) -> None:
    """The recipe's folder, with the recipe itself to be trained by one thread."""
    from ruamel.yaml import YAML

    Recipe.load(recipe)
    document = YAML(typ="safe").load(recipe)
    document["training"]["threads"] = 1
    folder = stage.world.project / _RECIPE.parent
    shutil.copytree(recipe.parent, folder)
    YAML(typ="safe").dump(document, folder / _RECIPE.name)


def _train(target: str, stage: Stage) -> TrainingOutcome:
    stage.llmops("train", str(_RECIPE), who="admin")
    platform = stage.platform(STACK)
    run = platform.find()[0].spec
    curve = dict(_LOSS.findall("\n".join(platform.follow(run.id))))
    manifest = platform.store().manifest(platform.store().find(f"{run.recipe.name}@latest"))
    weights = {path: entry.sha256 for path, entry in manifest.files.items() if path.endswith(".safetensors")}
    facts = manifest.training
    if not (curve and weights and facts):
        raise KitError("its training left no losses or no weights", where=f"{target}, run {run.id}")
    return TrainingOutcome(target, facts.steps, facts.first_loss, facts.last_loss, _digest(curve), _digest(weights))


def _keep(stage: Stage, version: Path, base: Path) -> None:
    """What the first target trained is what all of them serve, with tools in its chat template if it has none."""
    store = stage.platform(STACK).store()
    name = Recipe.load(stage.world.project / _RECIPE).name
    shutil.copytree(store.model_folder(store.find(f"{name}@latest").sha256), version)
    origin = ModelManifest.load(base / MANIFEST).lineage.origin
    if not (origin and origin.tools):
        offer_tools(version)


def _own_questions(stage: Stage) -> list[Question]:
    """Questions of the recipe's suites, by the dataset that the first target prepared."""
    from llmops.runs.receipts import checked_dataset

    platform = stage.platform(STACK)
    spec = platform.find()[0].spec
    return questions_of(spec.recipe, checked_dataset(platform.store(), spec.dataset))


def _identity(version: Path) -> str:
    return sha256_bytes((version / MANIFEST).read_bytes())


def _serve(target: str, stage: Stage, version: Path, questions: Sequence[Question]) -> Iterator[Answers]:
    platform = stage.platform(STACK)
    ref = platform.store().put_model(version, platform.sign)
    stage.json("promote", ref.alias, "--endpoint", _ENDPOINT, who="admin")
    stage.edit(lambda config: config["endpoints"][_ENDPOINT].update(precision="f32"), STACK)
    stage.llmops("up", who="admin")
    platform = stage.platform(STACK)
    requests = [{"model": ref.alias} | question for question in questions]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for contract, send in _contracts(target, stage, platform):
            yield Answers(target, contract, tuple(pool.map(send, requests)))


def _contracts(target: str, stage: Stage, platform: Platform) -> Iterator[tuple[str, Send]]:
    """Every way in which a target is asked."""
    access = platform.access(_ENDPOINT, 1.0)
    url = access.url.removesuffix("/v1")
    yield "OpenAI", lambda request: said(next(ask(url, access.key, request)))
    yield "OpenAI stream", lambda request: said_in_pieces(ask(url, access.key, request | {"stream": True}))
    if TARGETS[target].is_cloud:
        send = stage.cloud.asker(platform.outputs, _ENDPOINT)
        name = stage.cloud.contract
        yield name, lambda request: said(json.loads(send(json.dumps(request).encode())))
        stream = {"stream": True}
        yield f"{name} stream", lambda request: said_in_pieces(platform.invoke(_ENDPOINT, request | stream))


def _compared(answers: Sequence[Answers]) -> Iterator[Answers]:
    first = answers[0].texts if answers else ()
    for each in answers:
        equal = sum(a == b for a, b in zip(each.texts, first, strict=True))
        yield Answers(each.target, each.contract, each.texts, equal)


def _digest(document: dict[str, str]) -> str:
    return sha256_bytes(json.dumps(document, sort_keys=True).encode())
