"""What an import of a base model would give, judged by its small files alone: `llmops models import --check`."""

from typing import Literal

from pydantic import Field

from llmops_kit.contract.documents.document import Part
from llmops_kit.contract.documents.estimate import MachineFit, MachineMemory
from llmops_kit.contract.documents.recipe_training import Adapter


class CheckRequest(Part):
    """Asks the training image's environment about a model."""

    machines: list[MachineMemory] = Field(description="From the smallest; empty: the machine that answers.")
    max_tokens: int = Field(default=512, description="Of the rows for which memory is estimated.")


class TemplateReport(Part):
    """What a chat template lets be trained and served. Reasons that are empty: it works."""

    refusal: str = Field(default="", description="Why an import refuses it.")
    system: str = Field(default="", description="Why rows with a system message are refused.")
    tools: str = Field(default="", description="Why rows with tools are refused.")
    calls: Literal["", "hermes", "llama", "ours"] = Field(
        default="", description="Form in which a server reads the model's calls; empty: in none."
    )


class AdapterFit(Part):
    """The smallest machine on which an adapter is trained, by `sft` with rows of `max_tokens`."""

    adapter: Adapter
    machine: MachineFit | None = Field(description="None: it fits on none of those that were asked for.")
    reason: str = Field(default="", description="Why it fits on none: of the largest.")


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
