"""Recipe: one YAML file that says what a model is made from, how, and what it must pass."""

import copy
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ClassVar, Literal

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
    """Files of rows, and where they lie. They are fetched on the caller's machine, with the caller's rights."""

    source: str = Field(
        min_length=1,
        description="A path or glob below the recipe's folder, `folder:PATH`, `s3://bucket/glob`, "
        "`az://account/container/glob`, `https://host/file`, `hub:org/name` (a dataset), `package:name==version` (a "
        "wheel's files, never run) or `capture:endpoint` (its recorded traffic).",
    )
    files: str = Field(
        default="", description="Glob of the files taken from an archive, a package or the hub; empty: all."
    )
    revision: str = Field(default="", description="The hub's commit, 40 hex digits.")
    languages: list[str] = Field(
        default=[], max_length=2, description="Of sentence pairs, source and target, as in `[en, de]`."
    )
    token: str = Field(
        default="",
        pattern=r"^(secret:[a-zA-Z][a-zA-Z0-9-]{0,62})?$",
        description="secret:NAME of the token for `hub:` or `https:`; never the token itself.",
    )
    split: Literal["", "train", "validation", "test"] = Field(
        default="", description="The split of all its rows; empty: `data.split` decides."
    )
    licence: str = Field(default="", description="SPDX identifier, recorded in the dataset's manifest.")

    @model_validator(mode="after")
    def _belongs_together(self) -> "DataSource":
        hub = self.source.startswith("hub:")
        if hub != bool(_COMMIT.fullmatch(self.revision)):
            raise ValueError("a dataset of the hub needs `revision`, its commit of 40 hex digits; others have none")
        if self.token and not hub and not self.source.startswith("https:"):
            raise ValueError("`token` has no effect without hub: or https:")
        return self


SplitName = Literal["train", "validation", "test", "rephrased"]


class Split(Part):
    """How rows are held out, by group: rows of one group stay in one split, `rephrased` aside."""

    group: str = Field(
        default="",
        description="Key of a row whose value names its group, such as `fact` or `user`; rows without it are trained. "
        "Empty: each prompt is a group.",
    )
    validation: float = Field(
        default=0, ge=0, description="Groups whose loss is watched during training: a share below 1, or a number."
    )
    test: float = Field(
        default=0, ge=0, description="Groups that are only evaluated: a share below 1, or a number of them."
    )
    rephrased: int = Field(
        default=0, ge=0, description="Prompts of each trained group that are only evaluated: split `rephrased`."
    )
    seed: int = 0

    @model_validator(mode="after")
    def _usable(self) -> "Split":
        for name in ("validation", "test"):
            value = getattr(self, name)
            if value >= 1 and value != int(value):
                raise ValueError(f"`{name}` is {value}: write a share below 1, or a whole number of groups")
        if self.rephrased and not self.group:
            raise ValueError("`rephrased` needs `group`: each prompt is a group of its own")
        return self


class Data(Part):
    """What the dataset version is made from."""

    sources: list[DataSource] = Field(min_length=1)
    split: Split = Split()
    faulty_rows: float = Field(
        default=0,
        ge=0,
        lt=1,
        description="Share of rows that may be unusable: they are dropped and counted. 0: the first one is an error.",
    )
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


Metric = Literal["expect", "exact", "f1"]

MIN_GATE_GROUPS = 30
"""Fewer independent groups than this can't carry a gate: the interval of their mean is wider than any useful bound."""


class Suite(Part):
    """Greedy answers to a split's rows, each with a score from 0 to 1."""

    name: Name
    split: SplitName
    metric: Metric = Field(
        default="expect",
        description="`expect`: all of the row's expected strings stand in the answer, as whole words. `exact`: the "
        "answer is the row's. `f1`: F1 of the words that the two share. Letter case and spaces don't count.",
    )
    max_tokens: int = Field(default=64, ge=1)
    limit: int = Field(default=0, ge=0, description="Rows taken, in order; 0: all.")


class GateCheck(Part):
    """Bounds on a suite's mean score. They hold for the lower end of the 95 % interval, not for the mean itself."""

    suite: Name
    low: float | None = Field(default=None, gt=0, le=1, description="Least lower bound of the score after training.")
    gain_low: float | None = Field(
        default=None, ge=0, le=1, description="Least lower bound of the gain over the base model, row by row."
    )

    @model_validator(mode="after")
    def _checks_something(self) -> "GateCheck":
        if self.low is None and self.gain_low is None:
            raise ValueError("a gate check needs `low`, `gain_low` or both")
        return self


class Evaluation(Part):
    """Suites run before and after training, and the gate on them."""

    suites: list[Suite] = Field(min_length=1)
    gate: list[GateCheck] = Field(
        default=[], description=f"Each suite needs {MIN_GATE_GROUPS} groups. Empty: no version passes."
    )

    @model_validator(mode="after")
    def _gate_names_suites(self) -> "Evaluation":
        known = {s.name: s for s in self.suites}
        for check in self.gate:
            if check.suite not in known:
                raise ValueError(f"the gate names suite {check.suite!r}; there are {sorted(known)}")
            if known[check.suite].split == "train":
                raise ValueError(f"the gate checks suite {check.suite!r} on trained rows, which proves nothing")
        return self


class ServingDefaults(Part):
    """What a server does where a request is silent."""

    system_prompt: str = Field(default="", description="Put first when a conversation has no system message.")
    max_tokens: int = Field(default=256, ge=1)
    temperature: float = Field(default=0.0, ge=0, le=2)


_SPLITS_1 = {"new_phrasings": "rephrased", "new_facts": "test"}


def _migrate_1(data: dict[str, Any]) -> dict[str, Any]:
    """recipe/2: held-out facts are groups, and the gate holds bounds. What can't be read stays for validation."""
    data = copy.deepcopy(data)
    with suppress(KeyError, TypeError, AttributeError):
        for source in data["data"]["sources"]:
            source["source"] = source.pop("path")
        split = data["data"].get("split", {})
        split |= {
            "group": "fact",
            "test": split.pop("held_out_facts", 0),
            "rephrased": split.pop("held_out_phrasings", 1),
        }
        data["data"]["split"] = split
    with suppress(KeyError, TypeError, AttributeError):
        for suite in data["evaluation"]["suites"]:
            suite["split"] = _SPLITS_1.get(suite["split"], suite["split"])
        for check in data["evaluation"]["gate"]:
            bounds = {"low": check.pop("minimum"), "gain_low": check.pop("minimum_gain", 0)}
            check |= {key: value for key, value in bounds.items() if value}
    return data


class Recipe(Document):
    """A recipe file."""

    SCHEMA: ClassVar[str] = "recipe/2"
    MIGRATIONS: ClassVar[dict[int, Callable[[dict[str, Any]], dict[str, Any]]]] = {1: _migrate_1}

    name: Name = Field(description="The model version's name in the store.")
    base_model: BaseModelSource
    data: Data
    training: Training = Training()
    evaluation: Evaluation
    serving: ServingDefaults = ServingDefaults()

    @model_validator(mode="after")
    def _patience_has_a_loss(self) -> "Recipe":
        held_out = self.data.split.validation or any(source.split == "validation" for source in self.data.sources)
        if self.training.patience and not held_out:
            raise ValueError("`training.patience` needs validation rows: set `data.split.validation`")
        return self
