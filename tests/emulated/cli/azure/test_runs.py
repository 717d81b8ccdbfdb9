"""Runs on a twin that runs containers: from a recipe's dataset to a signed version, interrupted and on two nodes."""

import json
import shutil
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from llmops_kit.cli import __version__
from llmops_kit.cli.data.build import build_dataset
from llmops_kit.cli.platforms.azure.platform import AzurePlatform
from llmops_kit.cli.runs.runs import collect, find_run
from llmops_kit.cli.runs.trainers import find_trainer
from llmops_kit.cli.store.store import now
from llmops_kit.clouds.azure.job_requests import JOBS_TAG, SCHEDULED_RUN, AzureJobContext, command_job
from llmops_kit.clouds.azure.names import workspace_id
from llmops_kit.clouds.azure.session import AzureSession
from llmops_kit.core.documents.recipe import Recipe
from llmops_kit.core.documents.recipe_trainer import Trainer
from llmops_kit.core.documents.run import Compute, Pinned, RunSpec, StoredSpec
from llmops_kit.core.errors import KitError, RunError
from llmops_kit.core.hashes import sha256_bytes, sha256_file
from llmops_kit.core.layout import run_spec_key
from llmops_kit.core.names import ModelRef
from llmops_kit.local_runtime import process_images
from llmops_twins.azure import control
from tests.emulated.cli.azure.conftest import add_workspace, entered, make_parts
from tests.support.checkout import CHECKOUT
from tests.support.runs.training import tiny_recipe, write_rows
from tests.support.servers.serving import until
from tests.support.tiny_models.models import tiny_model

SIZE = "Standard_DS3_v2"
CLUSTERS = {
    "cpu": {"vm_size": SIZE, "max_nodes": 2},
    "spot": {"vm_size": SIZE, "spot": True},
}


@dataclass
class World:
    """A stack whose store has the tiny model and a dataset of its recipe."""

    home: Path
    platform: AzurePlatform
    recipe: Recipe
    dataset: str
    base: ModelRef

    def spec(self, **compute: object) -> RunSpec:
        """Another run of the same inputs."""
        machines = {"instance_type": SIZE, **compute}
        return RunSpec.new(
            id=f"tiny-chat-{uuid.uuid4().hex[:8]}",
            created=now(),
            recipe=self.recipe,
            dataset=Pinned(name=self.recipe.name, sha256=self.dataset),
            base_model=Pinned(name=self.base.name, sha256=self.base.sha256),
            image=self.platform.outputs.training.image,
            kit_version=__version__,
            compute=Compute.model_validate(machines),
        )

    def completed(self, spec: RunSpec) -> list[str]:
        """A run to its end; its lines."""
        self.platform.submit(spec, lambda _: None)
        lines = list(self.platform.follow(spec.id))
        assert find_run(self.platform, spec.id).state.status == "completed", "\n".join(lines)
        return lines

    def weights(self, run: str) -> str:
        """Sha256 of what a run made, by the store."""
        ref = collect(self.platform, find_run(self.platform, run), lambda _: None)
        return sha256_file(self.platform.store().model_folder(ref.sha256) / "model.safetensors")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("runs").resolve()
    image = process_images.build("training", lambda _: None)
    home = folder / "twin"
    control.up(home, pace=0.05, say=lambda _: None)
    try:
        with entered(home):
            made = add_workspace(make_parts(AzureSession()), {"training": image}, CLUSTERS)
            write_rows(folder / "data")
            recipe = tiny_recipe(epochs=12, batch_size=4)
            dataset_folder = folder / "dataset"
            build_dataset(recipe, folder / "data", dataset_folder)
            store = made.store()
            dataset = store.put_dataset(dataset_folder)
            yield World(home, made, recipe, dataset, store.put_model(tiny_model(), made.sign))
    finally:
        control.reset(home)
        control.down(home)


@pytest.fixture(scope="module")
def whole(world: World) -> tuple[str, list[str]]:
    """A run that nothing interrupted."""
    spec = world.spec()
    return spec.id, world.completed(spec)


def test_a_run_tells_everything_and_its_model_is_signed_and_stored(world: World, whole: tuple[str, list[str]]) -> None:
    run, lines = whole
    text = "\n".join(lines)
    for words in ("job running", "stage=train", "job completed", f"1 x {SIZE}, for "):
        assert words in text
    ref = collect(world.platform, find_run(world.platform, run), lambda _: None)
    assert ref.alias == "tiny-chat@1"
    assert world.platform.store().manifest(ref).lineage.run == run
    assert collect(world.platform, find_run(world.platform, run), lambda _: None) == ref
    with pytest.raises(RunError, match="is complete"):
        world.platform.resume(run, lambda _: None)
    request = world.platform.job_request(run)
    assert request["name"].endswith(run)
    assert json.dumps(request)


TRAINS_BY_KERAS = pytest.mark.long(
    "tests/emulated/cli/aws/test_training.py::test_another_trainer_trains_in_a_job_of_its_own[keras-chat]"
)


@pytest.mark.parametrize("keras", [False, pytest.param(True, marks=TRAINS_BY_KERAS)], ids=["own", "keras"])
def test_another_trainer_trains_in_a_job_of_its_own(world: World, tmp_path: Path, keras: bool) -> None:
    """A trainer of the user's; and TensorFlow, whose spot node is taken back at its first checkpoint."""
    folder = shutil.copytree(CHECKOUT / "examples/own_trainer", tmp_path / "own_trainer")
    own = Trainer(image=f"folder:{folder}", command=["python", "-m", "own_trainer"])
    training = world.recipe.training.model_copy(update={"framework": "tensorflow"})
    trained_by = {"training": training} if keras else {"trainer": own}
    recipe = world.recipe.model_copy(update=trained_by)
    trainer = find_trainer(world.platform, recipe, tmp_path / "recipe.yaml", lambda _: None)
    spec = world.spec(spot=keras).model_copy(update={"recipe": recipe, "trainer": trainer})
    if keras:
        taken = {"job": f"*{spec.id}*", "after_file": "*checkpoints/*/checkpoint-*/complete.json", "times": 1}
        control.add_fault(world.home, "spot_reclaim", taken)
    lines = world.completed(spec)
    steps = 36 if keras else 27  # the example takes each of 12 x 9 rows once, 4 a step
    assert any(line.startswith(f"step={steps} total={steps} loss=") for line in lines), "\n".join(lines)
    assert "stage=evaluate_after" in lines
    assert lines.count("stage=train") == 2 * keras
    assert any(line.startswith("resume=checkpoint-") for line in lines) == keras
    ref = collect(world.platform, find_run(world.platform, spec.id), lambda _: None)
    manifest = world.platform.store().manifest(ref)
    assert trainer is not None
    assert manifest.lineage.trainer == trainer.image
    assert manifest.training is not None
    assert manifest.training.steps == steps


@pytest.mark.long
def test_a_run_that_was_stopped_goes_on_from_its_checkpoint_on_other_machines(
    world: World, whole: tuple[str, list[str]]
) -> None:
    platform, spec = world.platform, world.spec()
    platform.submit(spec, lambda _: None)
    seen = threading.Event()
    lines: list[str] = []

    def read() -> None:
        for line in platform.follow(spec.id):
            lines.append(line)
            if line.startswith("step=4 "):
                seen.set()

    thread = threading.Thread(target=read)
    thread.start()
    assert seen.wait(120), lines
    platform.stop(spec.id)
    thread.join()
    assert find_run(platform, spec.id).state.status == "stopped"
    platform.resume(spec.id, lambda _: None, Compute(instance_type=SIZE, spot=True))
    again = list(platform.follow(spec.id))
    assert find_run(platform, spec.id).state.status == "completed", "\n".join(again)
    assert any("resume=checkpoint-" in line for line in again)
    assert world.weights(spec.id) == world.weights(whole[0])


@pytest.mark.long
def test_two_nodes_train_as_one(world: World) -> None:
    spec = world.spec(instances=2)
    lines = world.completed(spec)
    assert any(line.startswith("node-1: ") for line in lines)
    assert world.weights(spec.id)


def test_a_schedules_job_is_a_run_that_is_collected(world: World, whole: tuple[str, list[str]]) -> None:
    platform, azure = world.platform, world.platform.azure
    place = AzureJobContext(
        azure.job_prefix, f"{workspace_id(azure)}/computes", azure.computes, azure.environments["training"],
        azure.client_ids["training"], "store", "work", "work", azure.tags,
    )  # fmt: skip
    spec = find_run(platform, whole[0]).spec
    stored = StoredSpec(run_spec_key(whole[0]).removesuffix("/run.json"), sha256_bytes(spec.to_json().encode()))
    job = f"nightly-{uuid.uuid4().hex[:8]}"
    properties = command_job(SCHEDULED_RUN, SCHEDULED_RUN, spec, stored, place)
    platform.session.arm.put(f"{workspace_id(azure)}/jobs/{job}", {"properties": properties})
    *_, last = platform.follow(job)
    assert last.startswith("1 x ")
    found = find_run(platform, job)
    assert (found.state.status, found.spec.recipe) == ("completed", world.recipe)
    ref = collect(platform, found, lambda _: None)
    assert platform.store().manifest(ref).lineage.run == job
    assert world.weights(job) == world.weights(whole[0])


def test_why_a_run_failed_is_told(world: World) -> None:
    spec = world.spec()
    wrong = spec.model_copy(update={"dataset": Pinned(name="tiny-chat", sha256=world.base.sha256)})
    world.platform.submit(wrong, lambda _: None)
    lines = list(world.platform.follow(spec.id))
    state = find_run(world.platform, spec.id).state
    assert state.status == "failed", "\n".join(lines)
    assert state.failure
    assert any("job failed" in line for line in lines)


def test_machines_that_no_cluster_has_are_refused_before_anything_is_written(world: World) -> None:
    spec = world.spec(instance_type="Standard_NC6s_v3")
    with pytest.raises(KitError, match="no cluster of the stack has Standard_NC6s_v3"):
        world.platform.submit(spec, lambda _: None)
    assert world.platform.find(spec.id) == []


def test_all_is_stopped_and_removed(world: World, tmp_path: Path) -> None:
    platform, spec = world.platform, world.spec()
    platform.submit(spec, lambda _: None)
    said: list[str] = []
    platform.halt(said.append)
    assert any(spec.id in line for line in said)
    jobs = f"{workspace_id(platform.azure)}/jobs"
    assert [j for j in platform.session.arm.list(jobs) if j["properties"]["tags"].get(JOBS_TAG)]
    platform.remove_data()
    until(lambda: not list(platform.session.arm.list(jobs)))
    assert platform.find() == []
    assert platform.store().versions() == []
