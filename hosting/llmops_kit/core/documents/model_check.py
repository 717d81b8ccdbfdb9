"""Check of a base model before its import, from its small files only: `llmops models import --check`."""

from typing import Literal

from pydantic import Field

from llmops_kit.core.document import Part
from llmops_kit.core.documents.estimate import MachineFit, MachineMemory
from llmops_kit.core.documents.recipe_training import Adapter


class CheckRequest(Part):
    """Request to the training image's environment to check a model."""

    machines: list[MachineMemory] = Field(description="From the smallest; empty: the machine that answers.")
    max_tokens: int = Field(default=512, description="Of the rows for which memory is estimated.")


class TemplateReport(Part):
    """Support of a chat template in training and serving. An empty reason: it works."""

    refusal: str = Field(default="", description="Why an import rejects it.")
    system: str = Field(default="", description="Why rows with a system message are rejected.")
    tools: str = Field(default="", description="Why rows with tools are rejected.")
    calls: Literal["", "hermes", "llama", "ours"] = Field(
        default="", description="Format in which servers parse the model's calls; empty: none."
    )


class AdapterFit(Part):
    """The smallest machine on which an adapter is trained, by `sft` with rows of `max_tokens`."""

    adapter: Adapter
    machine: MachineFit | None = Field(description="None: it fits on none of the requested ones.")
    reason: str = Field(default="", description="Why it does not fit on the largest one.")


class ModelCheck(Part):
    """Answers a CheckRequest: whether a model can be imported, and what each adapter needs."""

    refusal: str = Field(default="", description="Why an import would refuse it; empty: its small files allow it.")
    where: str = Field(default="", description="Of the refusal.")
    fix: str = Field(default="", description="Of the refusal.")
    model_type: str = ""
    architecture: str = ""
    parameters: int = Field(default=0, description="0: unknown, as the configuration can't be read.")
    cache: int = Field(default=0, description="Bytes of a token's keys and values in bf16; 0: unknown.")
    template: TemplateReport | None = None
    tensorflow: str = Field(default="", description="Why `training.framework: tensorflow` refuses it.")
    fits: list[AdapterFit] = Field(default=[])
