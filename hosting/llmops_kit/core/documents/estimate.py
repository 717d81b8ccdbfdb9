"""Request for an estimate of a training, and the training image's answer, as JSON."""

from typing import Literal

from pydantic import Field

from llmops_kit.core.document import Part
from llmops_kit.core.documents.recipe_training import TrainingRecipe


class MachineMemory(Part):
    """A machine that could train."""

    name: str
    gpus: int = Field(ge=0, description="Number on all its hosts together; 0: it trains on processors.")
    memory: int = Field(gt=0, description="Bytes, of each GPU or of the machine.")
    bf16: bool = Field(description="Whether it multiplies bf16 in hardware, so that precision `auto` takes it.")


class EstimateRequest(Part):
    """Request for machines that could train a recipe."""

    training: TrainingRecipe
    system_prompt: str = ""
    rows: str = Field(default="", description="File of the rows to train, JSON lines; empty: unknown.")
    machines: list[MachineMemory] = Field(description="Machines to check; empty: the one that answers.")


class RowLengths(Part):
    """Tokens of the examples that rows become, counted or assumed."""

    counted: bool = Field(
        description="False: each example is assumed to have max_tokens, and half of them to bear loss."
    )
    examples: int | None = None
    longest: int
    loss_bearing: int = Field(description="The most in an example.")
    tokens: int | None = Field(default=None, description="Of all examples together, in one epoch.")


class PeakMemory(Part):
    """Bytes in use on a GPU at a step's peak; on processors, those of the process's tensors."""

    weights: int
    gradients: int
    optimizer: int
    activations: int = Field(
        description="Tensors kept for the backward pass, weights gathered from shards, and temporary tensors."
    )

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.optimizer + self.activations


class MachineFit(Part):
    """Estimate of a training on one type of machine."""

    name: str
    gpus: int
    fits: bool
    reason: str = Field(default="", description="Why it does not fit.")
    precision: Literal["bf16", "f32"]
    sharded: bool = Field(default=False, description="Weights, gradients and optimizer in shards, one on each GPU.")
    checkpointing: bool = Field(default=False, description="Activations are computed twice instead of kept.")
    micro_batch: int = Field(default=0, description="Rows that a GPU trains at a time.")
    accumulation: int = Field(default=0, description="Micro-batches of a GPU in an optimizer step.")
    peak: PeakMemory
    padding: float = Field(
        default=1.0,
        description="Computed tokens for each token of the examples: less than one where examples share a beginning.",
    )
    flops_per_token: float = Field(description="Floating-point operations of a step, for each computed token.")


class Estimate(Part):
    """Answers an EstimateRequest: the model's size, its rows' lengths, and how each machine would train it."""

    parameters: int
    trained: int
    lengths: RowLengths
    machines: list[MachineFit]
