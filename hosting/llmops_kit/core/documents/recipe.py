"""Recipe: one YAML file with a model's data, training and gate."""

import copy
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Any, ClassVar

from pydantic import Field, field_validator, model_validator

from llmops_kit.core.document import Document, Part
from llmops_kit.core.documents.recipe_data import COMMIT, Data
from llmops_kit.core.documents.recipe_evaluation import Evaluation
from llmops_kit.core.documents.recipe_trainer import Trainer
from llmops_kit.core.documents.recipe_training import TrainingRecipe
from llmops_kit.core.errors import KitError
from llmops_kit.core.names import Name


class BaseModelSource(Part):
    """Source of the base model, which is imported into the store once."""

    name: Name = Field(description="Its name in the store.")
    source: str = Field(
        pattern=r"^(package|hub|folder|store):.+$",
        description="package:<PyPI package with a GGUF>, hub:<org/name>, folder:<path>, or store:<name@number>.",
    )
    revision: str = Field(default="", description="The hub's commit (40 hex digits), or the package's version.")
    licence: str = Field(default="", description="SPDX identifier, recorded in the model version's manifest.")
    chat_template: str = Field(
        default="",
        exclude_if=lambda path: not path,
        description="File with a chat template (jinja2) to take instead of the model's own, below the recipe's folder: "
        "for base models whose own lacks tools. It is part of the imported version: training and serving use the same.",
    )
    token: str = Field(
        default="",
        pattern=r"^(secret:[a-zA-Z][a-zA-Z0-9-]{0,62})?$",
        description="secret:NAME of the token for a gated model of the hub; never the token itself.",
    )

    @model_validator(mode="after")
    def _hub_needs_revision(self) -> "BaseModelSource":
        if self.source.startswith("hub:") and not self.revision:
            raise ValueError("a hub model needs `revision` (a commit), so that the same recipe gives the same model")
        if self.token and not self.source.startswith("hub:"):
            raise ValueError("`token` has no effect without hub:")
        if self.chat_template and self.source.startswith("store:"):
            raise ValueError("`chat_template` has no effect with store: a stored version keeps its own")
        return self

    def require_commit(self, where: str) -> None:
        """Check that a model of the hub is named by a commit, because branches and tags can be moved.

        Not part of reading a document: recipes and runs of older kits that name a branch stay readable.

        Args:
            where: the place of `revision`.

        Raises:
            KitError: it is a branch, a tag or a shortened commit.
        """
        if self.source.startswith("hub:") and not COMMIT.fullmatch(self.revision):
            repository = self.source.removeprefix("hub:")
            raise KitError(
                f"{self.revision!r} is not a commit of the hub: a branch or tag can be moved to other weights",
                where=where,
                fix=f"write its commit (40 hex digits): `git ls-remote https://huggingface.co/{repository}` has them, "
                "and so has the model's page, under Files and versions, History",
            )


class ServingDefaults(Part):
    """Defaults of a server for requests."""

    system_prompt: str = Field(default="", description="System message of conversations without one.")
    max_tokens: int = Field(default=256, ge=1)
    temperature: float = Field(default=0.0, ge=0, le=2)


class ChatPage(Part):
    """Suggested questions and tools on a version's chat page."""

    questions: list[Annotated[str, Field(min_length=1, max_length=200)]] = Field(
        default=[],
        max_length=8,
        description="Suggested questions. Empty: up to three of the version's golden prompts.",
    )
    tools: list[dict[str, Any]] = Field(
        default=[],
        max_length=64,
        description="That the model may call, in OpenAI's form; the user of the page enters a call's result.",
    )

    @field_validator("tools")
    @classmethod
    def _are_tools(cls, tools: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for number, tool in enumerate(tools, 1):
            function = tool.get("function")
            if tool.get("type") != "function" or not isinstance(function, dict) or not function.get("name"):
                raise ValueError(f"`tools`, number {number}: write {{type: function, function: {{name: …}}}}")
        return tools


class Export(Part):
    """Formats of a version in addition to its safetensors."""

    openvino: bool | None = Field(
        default=None,
        description="OpenVINO, for endpoints on CPUs. Default: for models below 2 billion parameters.",
    )


_SPLITS_1 = {"new_phrasings": "rephrased", "new_facts": "test"}


def _migrate_1(data: dict[str, Any]) -> dict[str, Any]:
    """Migrates to recipe/2: groups for held-out facts, bounds in the gate. Unreadable fields are left to validation."""
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
    """Content of a recipe's YAML file: data, base model, training, evaluation, gate and serving defaults."""

    SCHEMA: ClassVar[str] = "recipe/2"
    MIGRATIONS: ClassVar[dict[int, Callable[[dict[str, Any]], dict[str, Any]]]] = {1: _migrate_1}

    name: Name = Field(description="The model version's name in the store.")
    base_model: BaseModelSource
    data: Data
    training: TrainingRecipe = TrainingRecipe()
    trainer: Trainer | None = Field(
        default=None,
        exclude_if=lambda trainer: trainer is None,
        description="Trains in place of the kit's code, with what it reads of `training`.",
    )
    evaluation: Evaluation
    serving: ServingDefaults = ServingDefaults()
    page: ChatPage = Field(
        default=ChatPage(), exclude_if=lambda page: page == ChatPage(), description="Questions and tools of the page."
    )
    export: Export = Export()

    @property
    def has_two_jobs(self) -> bool:
        """Whether it is trained in a first job, and evaluated in a second one with another image."""
        return self.trainer is not None or self.training.framework != "pytorch"

    @model_validator(mode="after")
    def _patience_has_a_loss(self) -> "Recipe":
        held_out = self.data.split.validation or any(source.split == "validation" for source in self.data.sources)
        if self.training.patience and not held_out:
            raise ValueError("`training.patience` needs validation rows: set `data.split.validation`")
        return self

    @model_validator(mode="after")
    def _has_one_trainer(self) -> "Recipe":
        if self.trainer and self.training.framework != "pytorch":
            raise ValueError("`training.framework` has no effect with `trainer`: remove one of them")
        return self
