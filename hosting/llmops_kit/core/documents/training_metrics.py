"""metrics.jsonl of a trained version: measurements at each training step, one JSON object per line."""

import math
from collections.abc import Iterable
from typing import Any, Self

from pydantic import ConfigDict, Field, ValidationError

from llmops_kit.core.document import Part
from llmops_kit.core.errors import DocumentError
from llmops_kit.core.validation import first_message


class StepMetrics(Part):
    """One step. A value that was not measured, or was not finite, is missing."""

    model_config = ConfigDict(allow_inf_nan=False)

    step: int = Field(ge=1)
    time: float = Field(ge=0, description="When the step ended, in seconds since 1970.")
    seconds: float = Field(ge=0, description="Of training until then, including those before an interruption.")
    loss: float | None = Field(default=None, description="Nats a token; of `dpo`, of a pair.")
    validation_loss: float | None = Field(default=None, description="The same on the validation split.")
    learning_rate: float | None = None
    grad_norm: float | None = Field(default=None, description="Of all gradients, before they are clipped.")
    tokens_per_s: float | None = Field(default=None, description="Mean of this attempt, on all machines.")
    peak_mb: float | None = Field(default=None, description="Peak memory of the first process, or of its GPU, in MiB.")

    @classmethod
    def of(cls, **values: Any) -> Self:
        """Returns the values of a step without those that are not finite."""
        return cls(**{name: value for name, value in values.items() if value is not None and math.isfinite(value)})

    def values(self) -> dict[str, float]:
        """Returns the measured values by name, the step and its times aside."""
        return self.model_dump(exclude={"step", "time", "seconds"}, exclude_none=True)


def metrics_text(steps: Iterable[StepMetrics]) -> str:
    """Returns the content of the file."""
    return "".join(step.model_dump_json(exclude_none=True) + "\n" for step in steps)


def parse_metrics(content: bytes, where: str) -> list[StepMetrics]:
    """Reads the file's content.

    Raises:
        DocumentError: a line is not a step, or its step is not after the previous one; names the line.
    """
    found: list[StepMetrics] = []
    for number, line in enumerate(content.splitlines(), 1):
        try:
            step = StepMetrics.model_validate_json(line)
        except ValidationError as e:
            field = "".join(f": {each}" for each in e.errors()[0]["loc"])
            raise DocumentError(
                first_message(e), where=f"{where}:{number}{field}", fix="write one step a line"
            ) from None
        if found and step.step <= found[-1].step:
            what = f"step {step.step} comes after step {found[-1].step}"
            raise DocumentError(what, where=f"{where}:{number}", fix="write each step once, in their order")
        found.append(step)
    return found
