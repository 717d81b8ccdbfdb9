"""RunSpec: everything that a training job needs to know, resolved; its one input besides folders."""

from collections.abc import Callable
from typing import Any, ClassVar, Literal, NamedTuple

from pydantic import Field, model_validator

from llmops_kit.contract.documents.document import Document, Part
from llmops_kit.contract.documents.recipe import Recipe
from llmops_kit.contract.names import Name, Sha256

RUN_VARIABLE = "LLMOPS_RUN"
"""Tells a job its run's id where that is another than its spec's: a schedule repeats a spec."""


SPEC_VARIABLE = "LLMOPS_SPEC_SHA256"
"""Tells a job the sha256 of its run.json. It stands in the job's request, which the platform keeps as its caller wrote
it: so whoever collects the run knows what was submitted, though jobs can write where run.json lies."""


class StoredSpec(NamedTuple):
    """What a job is given in the bucket of runs: its RunSpec, and in the second of two jobs what the first one left."""

    folder: str
    """Key of the folder that holds run.json alone."""
    sha256: str
    """Of run.json."""
    trained: str = ""
    """Key of the folder that the trainer's job left; empty: of a run's only job, or of the first one."""


class Pinned(Part):
    """A version by name and identity."""

    name: Name
    sha256: Sha256


class Compute(Part):
    """The machines of a run in a cloud. What a run ends with does not depend on them."""

    instance_type: str = Field(
        pattern=r"^[A-Za-z][A-Za-z0-9._-]*$",
        description="The cloud's own word: ml.g5.xlarge, Standard_NC6s_v3.",
    )
    instances: int = Field(default=1, ge=1, le=64, description="Each takes its share of the recipe's batch.")
    spot: bool = Field(
        default=False, description="on: spot capacity, cheaper; the run resumes elsewhere when interrupted."
    )
    max_hours: int = Field(default=24, ge=1, le=120, description="Of training; then the job is stopped.")
    max_wait_hours: int = Field(
        default=0, ge=0, le=240, description="Of training and of waiting for spare capacity; 0: twice max_hours (spot)."
    )
    volume_gb: int = Field(default=50, ge=10, le=16_384, description="Disk of an instance that brings none.")
    warm_pool_minutes: int = Field(
        default=0, ge=0, le=360, description="How long instances are kept, and paid for, for the next run."
    )

    @model_validator(mode="after")
    def _belongs(self) -> "Compute":
        if self.max_wait_hours and not self.spot:
            raise ValueError("max_wait_hours has no effect without `spot: on`; add it")
        if self.max_wait_hours and self.max_wait_hours < self.max_hours:
            raise ValueError("max_wait_hours counts the training too: write at least max_hours, or leave it out")
        if self.warm_pool_minutes and self.spot:
            raise ValueError("spot instances are not kept: leave out warm_pool_minutes, or spot")
        return self


class TrainerJob(Part):
    """What the first job of a run with two runs: a trainer that is not the training image's own code."""

    image: str = Field(description="Its reference, by digest.")
    command: list[str] = Field(min_length=1, description="The program and its arguments.")


def _migrate_1(data: dict[str, Any]) -> dict[str, Any]:
    """Migrates to run/2, which holds a recipe/2."""
    recipe = data.get("recipe")
    return data | {"recipe": Recipe.migrate(recipe, "recipe")} if isinstance(recipe, dict) else data


class RunSpec(Document):
    """One execution of a recipe. Written into channel `spec` as run.json."""

    SCHEMA: ClassVar[str] = "run/2"
    MIGRATIONS: ClassVar[dict[int, Callable[[dict[str, Any]], dict[str, Any]]]] = {1: _migrate_1}

    id: str = Field(
        pattern=r"^[a-z][a-z0-9-]{2,62}$",
        description="Unique in its stack; fits SageMaker job names.",
    )
    created: str = Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$", description="UTC, ISO 8601, seconds.")
    recipe: Recipe
    dataset: Pinned
    base_model: Pinned
    image: str = Field(description="The training image's reference, by digest.")
    trainer: TrainerJob | None = Field(
        default=None,
        exclude_if=lambda trainer: trainer is None,
        description="What a first job trains with; the training image then evaluates in a second one.",
    )
    kit_version: str
    compute: Compute | None = Field(default=None, description="In a cloud; runs of equal inputs may differ in it.")

    @property
    def inputs(self) -> tuple[Recipe, Pinned, Pinned, str, TrainerJob | None]:
        """What identifies a run's inputs: runs with equal inputs end with equal weights, if the kit trains."""
        return self.recipe, self.dataset, self.base_model, self.image, self.trainer


RunJob = Literal["", "trainer", "evaluation"]
"""The job that a run with a trainer of its own is at."""
RunStatus = Literal["pending", "running", "completed", "failed", "stopped"]


class RunState(Document):
    """State of a run; kept beside its folders on this machine, derived from the platform elsewhere."""

    SCHEMA: ClassVar[str] = "run-state/1"

    id: str
    status: RunStatus = Field(description="`pending`: whoever follows or collects the run starts its (next) job.")
    job: RunJob = Field(default="", description="Of a run with two jobs: the one that it is at.")
    started: str = ""
    ended: str = ""
    pid: int = Field(
        default=0, description="The process on this machine, with `pid_started` against reuse of its number."
    )
    pid_started: float = 0.0
    exit_code: int | None = None
    failure: str = Field(default="", description="The first 1,024 characters of opt/ml/output/failure.")
    usd: float | None = Field(default=None, description="What it has cost so far; None where no price is known.")
    spot_saving: float | None = Field(default=None, description="The share that spot saved, 0 to 1, as AWS reports it.")
