"""ModelManifest: a model version's manifest.json; its sha256 is the version's identity."""

import copy
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from llmops_kit.core.document import Document, Part
from llmops_kit.core.documents.dataset import FileEntry, Files
from llmops_kit.core.documents.recipe import ChatPage, ServingDefaults
from llmops_kit.core.documents.recipe_evaluation import Evaluation, Metric
from llmops_kit.core.documents.run import Pinned, RunSpec
from llmops_kit.core.errors import KitError
from llmops_kit.core.hashes import sha256_bytes
from llmops_kit.core.models.tool_calls import ParsedCall, equal_calls, parse_call
from llmops_kit.core.names import Name
from llmops_kit.core.object_keys import Key

Task = Literal["text-generation", "token-classification", "feature-extraction", "translation-scoring"]
"""Tasks of models as the hub names them: generating answers, labelling tokens (such as PER for a name), and embedding
texts. The last one is the kit's own: scoring translations (COMET).
"""


class Origin(Part):
    """Source of imported weights."""

    source: str
    revision: str
    files: dict[Key, FileEntry] = Field(default={}, description="Digest of the fetched files, before conversion.")
    chat_template: str = Field(
        default="",
        exclude_if=lambda sha256: not sha256,
        description="SHA-256 of the chat template that replaced the model's on import; empty: none.",
    )
    tools: bool | None = Field(
        default=None,
        exclude_if=lambda tools: tools is None,
        description="Whether the chat template renders tools, calls of them and their results; None: not known.",
    )


class Lineage(Part):
    """Inputs from which a version was made. Imported versions have `origin`, trained ones the rest."""

    origin: Origin | None = None
    base_model: Pinned | None = None
    dataset: Pinned | None = None
    run: str = ""
    recipe_sha256: str = ""
    image: str = ""
    trainer: str = Field(
        default="",
        exclude_if=lambda image: not image,
        description="Image that trained, if `image` only evaluated.",
    )
    kit_version: str = ""

    @classmethod
    def of_run(cls, spec: RunSpec, run: str) -> "Lineage":
        """Returns the lineage of a version that a run made; `run` may differ from the spec's id, because a schedule
        repeats a spec.
        """
        return cls(
            base_model=spec.base_model,
            dataset=spec.dataset,
            run=run,
            recipe_sha256=sha256_bytes(spec.recipe.to_json().encode()),
            image=spec.image,
            trainer=spec.trainer.image if spec.trainer else "",
            kit_version=spec.kit_version,
        )


class Score(Part):
    """A mean over rows with its 95 % interval; rows of one group count as one observation."""

    value: float
    low: float
    high: float
    rows: int
    groups: int = Field(description="Independent observations; in manifests of older kits: rows.")


class CorpusScore(Part):
    """A score of all answers together, from 0 to 100, as in papers. It has no interval, and no gate uses it."""

    name: str = Field(
        description="chrF++; BLEU, with its tokens where they are not BLEU's usual ones (13a); or placeholders: the "
        "percentage of answers that hold those of their reference."
    )
    before: float
    after: float
    copied: float | None = Field(
        default=None, exclude_if=lambda copied: copied is None, description="Of the sources, untranslated."
    )


class CopiedSources(Part):
    """Scores of returning each source untranslated: in interface texts, unchanged names and placeholders earn some."""

    score: Score
    gain: Score = Field(description="After training less that, row by row.")


class JudgeUse(Part):
    """Use of a suite's judge or COMET model."""

    model: str
    asked: int = Field(description="Requests.")
    unreadable: int = Field(description="Unreadable replies; they count as the lowest rating, or as a tie.")
    prompt_tokens: int
    completion_tokens: int


class SuiteResult(Part):
    """Scores of a suite before training (base model) and after it (packaged weights)."""

    suite: Name
    split: str
    metric: Metric = "expect"
    before: Score
    after: Score
    gain: Score | None = Field(
        default=None,
        description="After less before, row by row; of `perplexity`, before less after; of an older kit: none.",
    )
    corpus: list[CorpusScore] = Field(default=[], exclude_if=lambda scores: not scores, description="Of translations.")
    copied: CopiedSources | None = Field(
        default=None,
        exclude_if=lambda copied: copied is None,
        description="Of translations whose suite has `languages`.",
    )
    judge: JudgeUse | None = Field(
        default=None, exclude_if=lambda use: use is None, description="Of suites `judge` and `comet`."
    )


class GateResult(Part):
    """Decision of the gate: whether the version may get traffic, with a sentence for each condition."""

    passed: bool
    reasons: list[str]


class TrainingFacts(Part):
    """Measurements of the training run."""

    steps: int
    tokens: int = Field(description="Real tokens, padding aside, over all epochs.")
    seconds: float
    first_loss: float
    last_loss: float
    precision: Literal["bf16", "f32"]
    best_step: int | None = Field(default=None, description="Whose weights these are; None: the last one's.")
    validation_loss: float | None = Field(default=None, description="Of these weights, nats a token.")


class Message(Part):
    """A message of a golden prompt, in OpenAI's form."""

    role: Literal["system", "user", "assistant"]
    content: str


class GoldenCall(Part):
    """A tool call that an answer must make."""

    name: str
    arguments: dict[str, Any]


class Golden(Part):
    """A prompt that a server must answer before it is ready: the answer must contain every string in `expect`, or make
    the calls.
    """

    messages: list[Message]
    expect: list[str] = Field(default=[], description="If empty, any answer passes that is not empty.")
    max_tokens: int = 64
    tools: list[dict[str, Any]] = Field(
        default=[], exclude_if=lambda tools: not tools, description="Tools that the model may call, in OpenAI's format."
    )
    calls: list[GoldenCall] = Field(
        default=[],
        exclude_if=lambda calls: not calls,
        description="For a prompt with tools: the calls that the answer must make, in any order, and no others.",
    )

    @model_validator(mode="after")
    def _calls_its_tools(self) -> Self:
        if bool(self.tools) != bool(self.calls):
            raise ValueError("`tools` and `calls` go together")
        return self

    @property
    def is_telling(self) -> bool:
        """Whether it distinguishes right answers from wrong ones."""
        return bool(self.expect or self.calls)

    def is_called_by(self, made: Sequence[tuple[str, str]]) -> bool:
        """Returns whether an answer's calls, names and arguments as JSON, are the expected ones."""
        wanted = [ParsedCall(call.name, call.arguments) for call in self.calls]
        try:
            return equal_calls([parse_call(*call) for call in made], wanted, self.tools)
        except ValueError:  # arguments that are not JSON
            return False


Pooling = Literal["mean", "cls", "last"]


class EmbeddingForm(Part):
    """How an embedding model pools a text into one vector."""

    pooling: Pooling = Field(description="Of the tokens' vectors: their mean, the first one, or the last one.")
    normalize: bool = Field(description="Scaled to length 1.")
    dimensions: int
    max_tokens: int = Field(description="Of a text.")


Activation = Literal["Tanh", "Sigmoid"]


class CometForm(Part):
    """How a COMET model computes a score from the hidden states of three sentences."""

    layer_weights: Literal["softmax", "sparsemax"] = Field(description="Turns the layers' parameters into weights.")
    activation: Activation = Field(description="Of the hidden layers of the head.")
    final_activation: Activation | None = Field(default=None, description="Of its output.")


def _migrate_1(data: dict[str, Any]) -> dict[str, Any]:
    """Migrates to model/2, which counts groups; leaves unreadable fields to validation."""
    data = copy.deepcopy(data)
    with suppress(KeyError, TypeError, AttributeError):
        for result in data.get("evaluation", []):
            for score in (result["before"], result["after"]):
                score["rows"] = score["groups"] = score.pop("n")
    return data


class ModelManifest(Document):
    """manifest.json of a model version."""

    SCHEMA: ClassVar[str] = "model/2"
    MIGRATIONS: ClassVar[dict[int, Callable[[dict[str, Any]], dict[str, Any]]]] = {1: _migrate_1}

    name: Name
    task: Task = Field(
        default="text-generation",
        exclude_if=lambda task: task == "text-generation",  # so that versions keep their bytes
        description="Task of the model.",
    )
    created: str
    licence: str = ""
    engines: list[Literal["transformers", "openvino"]] = Field(
        description="Engines that can load it; openvino has a folder."
    )
    dtype: str = Field(description="Of the safetensors: F32 or BF16.")
    files: Files = Field(description="Path in the folder -> file; the manifest and its signature aside.")
    lineage: Lineage
    evaluation: list[SuiteResult] = Field(default=[])
    gate: GateResult | None = Field(default=None, description="None: never evaluated, as after an import.")
    evaluated: Evaluation | None = Field(
        default=None, description="The recipe's section `evaluation`; of an older kit, or after an import: none."
    )
    training: TrainingFacts | None = None
    serving: ServingDefaults = ServingDefaults()
    page: ChatPage = Field(
        default=ChatPage(), exclude_if=lambda page: page == ChatPage(), description="Questions and tools of the page."
    )
    golden: list[Golden] = Field(description="At least one of a model that generates text, none of others.")
    embedding: EmbeddingForm | None = Field(
        default=None, exclude_if=lambda form: form is None, description="Of a model for feature extraction."
    )
    comet: CometForm | None = Field(
        default=None, exclude_if=lambda form: form is None, description="Of a model for translation scoring."
    )

    @model_validator(mode="after")
    def _fits_its_task(self) -> Self:
        if bool(self.golden) != (self.task == "text-generation"):
            raise ValueError("`golden` needs a prompt for a model that generates text, and none for others")
        if bool(self.embedding) != (self.task == "feature-extraction"):
            raise ValueError("`embedding` belongs to a model for feature extraction, and to no other")
        if bool(self.comet) != (self.task == "translation-scoring"):
            raise ValueError("`comet` belongs to a model for translation scoring, and to no other")
        return self

    def require_task(self, where: str, *tasks: Task) -> None:
        """Checks that the model is for the wanted task.

        Raises:
            KitError: it is for another task.
        """
        if self.task not in tasks:
            wanted = " or ".join(tasks)
            raise KitError(
                f"is a model for {self.task}, not for {wanted}",
                where=where,
                fix=f"name a version for {wanted}: `llmops models show` says what a version is for",
            )
