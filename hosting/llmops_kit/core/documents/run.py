"""RunSpec: all resolved inputs of a training job, besides folders."""

from collections.abc import Callable
from typing import Any, ClassVar, Literal, NamedTuple

from pydantic import Field, model_validator

from llmops_kit.core.document import Document, Part
from llmops_kit.core.documents.recipe import Recipe
from llmops_kit.core.names import Name, Sha256

RUN_VARIABLE = "LLMOPS_RUN"
"""Variable with a job's run id, if it differs from its spec's, as for a scheduled run."""


SPEC_VARIABLE = "LLMOPS_SPEC_SHA256"
"""Variable with the sha256 of a job's run.json. It is in the job's request, which jobs can't change, while they can
write to the folder of run.json: so the collector knows which spec was submitted."""


class StoredSpec(NamedTuple):
    """A job's inputs in the bucket of runs: its RunSpec, and for the second of two jobs the output of the first."""

    folder: str
    """Key of the folder with only run.json."""
    sha256: str
    """Of run.json."""
    trained: str = ""
    """Key of the output of the trainer's job; empty for a run's only job, or the first one."""


class Pinned(Part):
    """A version by name and identity."""

    name: Name
    sha256: Sha256


class Compute(Part):
    """The machines of a run in a cloud. They do not affect its result."""

    instance_type: str = Field(
        default="",
        pattern=r"^([A-Za-z][A-Za-z0-9._-]*)?$",
        description="The cloud's name of a type: ml.g5.xlarge, Standard_NC6s_v3; empty: none, which clouds reject.",
    )
    instances: int = Field(default=1, ge=1, le=64, description="Each takes its share of the recipe's batch.")
    spot: bool = Field(
        default=False, description="on: spot capacity, cheaper; the run resumes elsewhere when interrupted."
    )
    max_hours: int = Field(
        default=24, ge=1, le=120, description="Maximum hours of training, after which the job is stopped."
    )
    max_wait_hours: int = Field(
        default=0,
        ge=0,
        le=240,
        description="Maximum hours of training and waiting for spare capacity; 0: twice max_hours (spot).",
    )
    volume_gb: int = Field(default=50, ge=10, le=16_384, description="Disk in GB of instances without a local one.")
    warm_pool_minutes: int = Field(
        default=0, ge=0, le=360, description="How long instances are kept, and paid for, for the next run."
    )

    @model_validator(mode="after")
    def _belongs(self) -> "Compute":
        if self.max_wait_hours and not self.spot:
            raise ValueError("max_wait_hours has no effect without `spot: on`; add it")
        if self.max_wait_hours and self.max_wait_hours < self.max_hours:
            raise ValueError("max_wait_hours includes the training: write at least max_hours, or remove it")
        if self.warm_pool_minutes and self.spot:
            raise ValueError("spot instances are not kept: remove warm_pool_minutes or spot")
        return self


class TrainerJob(Part):
    """First of a run's two jobs: a trainer other than the training image's."""

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
        description="Trainer of a first job; the training image then evaluates in a second one.",
    )
    kit_version: str
    compute: Compute | None = Field(default=None, description="In a cloud; runs of equal inputs may differ in it.")

    @property
    def inputs(self) -> tuple[Recipe, Pinned, Pinned, str, TrainerJob | None]:
        """The identity of a run's inputs: runs with equal inputs give equal weights, if the kit trains."""
        return self.recipe, self.dataset, self.base_model, self.image, self.trainer


RunJob = Literal["", "trainer", "evaluation"]
"""Current job of a run with its own trainer."""
RunStatus = Literal["pending", "running", "completed", "failed", "stopped"]


class RunState(Document):
    """State of a run; kept beside its folders on this machine, derived from the platform elsewhere."""

    SCHEMA: ClassVar[str] = "run-state/1"

    id: str
    status: RunStatus = Field(description="`pending`: following or collecting the run starts its (next) job.")
    job: RunJob = Field(default="", description="Current job of a run with two jobs.")
    started: str = ""
    ended: str = ""
    pid: int = Field(
        default=0, description="The process on this machine, with `pid_started` against reuse of its number."
    )
    pid_started: float = 0.0
    exit_code: int | None = None
    failure: str = Field(default="", description="The first 1,024 characters of opt/ml/output/failure.")
    usd: float | None = Field(default=None, description="Cost so far; None if no price is known.")
    spot_saving: float | None = Field(default=None, description="The share that spot saved, 0 to 1, as AWS reports it.")
