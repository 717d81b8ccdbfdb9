"""A recipe's section `training`."""

from typing import Literal

from pydantic import Field

from contract.documents.document import Part


class Lora(Part):
    """Low-rank adaptation (Hu et al. 2021) on all linear layers; merged before packaging."""

    r: int = Field(default=16, ge=1)
    alpha: int = Field(default=32, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)


class Training(Part):
    """Supervised fine-tuning; the loss counts on answers only."""

    lora: Lora = Lora()
    epochs: int = Field(default=1, ge=1)
    batch_size: int = Field(default=16, ge=1, description="Conversations an optimizer step.")
    learning_rate: float = Field(default=1e-4, gt=0)
    warmup_steps: int = Field(default=0, ge=0)
    max_tokens: int = Field(default=512, ge=8, description="Longer conversations are refused, naming the row.")
    precision: Literal["auto", "bf16", "f32"] = Field(
        default="auto",
        description="Of training and evaluation; auto: bf16 where the GPU (without one, the processor) has it.",
    )
    checkpoint_steps: int = Field(
        default=20,
        ge=1,
        description="Optimizer steps between checkpoints, and between measures of the validation loss.",
    )
    patience: int = Field(
        default=0,
        ge=0,
        description="Measures of the validation loss in a row that may bring no better one before training ends early; "
        "the result are the weights with the least. 0: training runs to its end, and the last weights are the result.",
    )
    threads: int = Field(default=0, ge=0, description="0: all processors.")
    seed: int = 0
