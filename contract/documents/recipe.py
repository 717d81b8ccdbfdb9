"""Recipe: one YAML file that says what a model is made from, how, and what it must pass."""

import re
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from contract.documents.document import Document, Part
from contract.errors import KitError
from contract.names import Name

_COMMIT = re.compile(r"[0-9a-f]{40}")


class BaseModelSource(Part):
    """Where the base model comes from; imported into the store once."""

    name: Name = Field(description="Its name in the store.")
    source: str = Field(
        pattern=r"^(package|hub|folder|store):.+$",
        description="package:<PyPI package with a GGUF>, hub:<org/name>, folder:<path>, or store:<name@number>.",
    )
    revision: str = Field(default="", description="The hub's commit (40 hex digits), or the package's version.")
    licence: str = Field(default="", description="SPDX identifier, recorded in the model version's manifest.")
    token: str = Field(
        default="",
        pattern=r"^(secret:[a-zA-Z][a-zA-Z0-9-]{0,62})?$",
        description="secret:NAME, for a gated model of the hub: where the token is kept, never the token.",
    )

    @model_validator(mode="after")
    def _hub_needs_revision(self) -> "BaseModelSource":
        if self.source.startswith("hub:") and not self.revision:
            raise ValueError("a hub model needs `revision` (a commit), so that the same recipe gives the same model")
        if self.token and not self.source.startswith("hub:"):
            raise ValueError("`token` has no effect but with hub:")
        return self

    def require_commit(self, where: str) -> None:
        """See that a model of the hub is named by a commit: whoever owns a branch or tag can move it.

        Not part of reading a document: recipes and runs of older kits that name a branch stay readable.

        Args:
            where: the place of `revision`.

        Raises:
            KitError: it is a branch, a tag or a shortened commit.
        """
        if self.source.startswith("hub:") and not _COMMIT.fullmatch(self.revision):
            repository = self.source.removeprefix("hub:")
            raise KitError(
                f"{self.revision!r} is no commit of the hub: a branch or tag can be moved to other weights",
                where=where,
                fix=f"write its commit (40 hex digits): `git ls-remote https://huggingface.co/{repository}` has them, "
                "and so has the model's page, under Files and versions, History",
            )


class DataSource(Part):
    """A file of chat rows: JSON lines with `messages`, and for facts `fact` and `expect`."""

    path: str = Field(description="Relative to the recipe's folder.")
    licence: str = Field(default="", description="SPDX identifier, recorded in the dataset's manifest.")


class Split(Part):
    """How rows are held out. Rows of one fact stay together, but for its held-out phrasings."""

    held_out_phrasings: int = Field(default=1, ge=0, description="Phrasings of each trained fact kept for evaluation.")
    held_out_facts: int = Field(default=0, ge=0, description="Facts that are never trained.")
    seed: int = 0


class Data(Part):
    """What the dataset version is made from."""

    sources: list[DataSource] = Field(min_length=1)
    split: Split = Split()
    max_characters: int = Field(default=8000, ge=1, description="Longer rows are dropped, and counted in the manifest.")


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
    checkpoint_steps: int = Field(default=20, ge=1, description="Optimizer steps between checkpoints.")
    threads: int = Field(default=0, ge=0, description="0: all processors.")
    seed: int = 0


class Suite(Part):
    """One evaluation: greedy answers to a held-out split, and the share in which all expected strings stand."""

    name: Name
    split: Literal["train", "new_phrasings", "new_facts"]
    max_tokens: int = Field(default=64, ge=1)
    limit: int = Field(default=0, ge=0, description="Rows taken, in order; 0: all.")


class GateCheck(Part):
    """A condition on a suite's share of facts found."""

    suite: Name
    minimum: float = Field(ge=0, le=1, description="Least share after training.")
    minimum_gain: float = Field(default=0.0, ge=0, le=1, description="Least difference to the base model's share.")


class Evaluation(Part):
    """Suites run before and after training, and the gate on them."""

    suites: list[Suite] = Field(min_length=1)
    gate: list[GateCheck] = Field(min_length=1)

    @model_validator(mode="after")
    def _gate_names_suites(self) -> "Evaluation":
        known = {s.name for s in self.suites}
        for check in self.gate:
            if check.suite not in known:
                raise ValueError(f"the gate names suite {check.suite!r}; there are {sorted(known)}")
        return self


class ServingDefaults(Part):
    """What a server does where a request is silent."""

    system_prompt: str = Field(default="", description="Put first when a conversation has no system message.")
    max_tokens: int = Field(default=256, ge=1)
    temperature: float = Field(default=0.0, ge=0, le=2)


class Recipe(Document):
    """A recipe file."""

    SCHEMA: ClassVar[str] = "recipe/1"

    name: Name = Field(description="The model version's name in the store.")
    base_model: BaseModelSource
    data: Data
    training: Training = Training()
    evaluation: Evaluation
    serving: ServingDefaults = ServingDefaults()
