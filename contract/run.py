"""RunSpec: everything that a training job needs to know, resolved; its one input besides folders."""

from typing import ClassVar, Literal

from pydantic import Field

from contract.documents import Document, Part
from contract.names import Name, Sha256
from contract.recipe import Recipe


class Pinned(Part):
    """A version by name and identity."""

    name: Name
    sha256: Sha256


class RunSpec(Document):
    """One execution of a recipe. Written into channel `spec` as run.json."""

    SCHEMA: ClassVar[str] = "run/1"

    id: str = Field(
        pattern=r"^[a-z][a-z0-9-]{2,62}$",
        description="Unique in its stack; fits SageMaker job names.",
    )
    created: str = Field(description="UTC, ISO 8601, seconds.")
    recipe: Recipe
    dataset: Pinned
    base_model: Pinned
    image: str = Field(description="The training image's reference, by digest.")
    kit_version: str


RunStatus = Literal["pending", "running", "completed", "failed", "stopped"]


class RunState(Document):
    """What a run has come to; kept beside its folders on this machine, derived from the platform elsewhere."""

    SCHEMA: ClassVar[str] = "run-state/1"

    id: str
    status: RunStatus
    started: str = ""
    ended: str = ""
    pid: int = Field(
        default=0, description="The process on this machine, with `pid_started` against reuse of its number."
    )
    pid_started: float = 0.0
    exit_code: int | None = None
    failure: str = Field(default="", description="The first 1,024 characters of opt/ml/output/failure.")
