"""A recipe's section `training`."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from llmops_kit.core.document import Part

Method = Literal["sft", "dpo", "pretrain"]
Adapter = Literal["lora", "qlora", "none"]
Schedule = Literal["linear", "cosine", "constant"]
Framework = Literal["pytorch", "tensorflow"]


class Lora(Part):
    """Low-rank adaptation (Hu et al. 2021, arXiv:2106.09685) on all linear layers; merged before packaging."""

    r: int = Field(default=16, ge=1, description="Rank of each layer's update.")
    alpha: int = Field(default=32, ge=1, description="The update counts alpha / r times.")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="Share of a layer's inputs that its update ignores.")


class TranslationTask(Part):
    """How rows of kind translation are trained: a prompt with the text in one language, an answer in the other."""

    languages: list[str] = Field(min_length=2, max_length=2, description="From and to, as in `[en, de]`.")
    prompt: str = Field(
        default="",
        description="`{text}` is the text in the first language. Empty: `Translate from en to de:` and the text. "
        "Suites should ask with the same.",
    )

    @field_validator("prompt")
    @classmethod
    def _holds_the_text(cls, prompt: str) -> str:
        if prompt and "{text}" not in prompt:
            raise ValueError("`prompt` must contain {text}, the place of the sentence")
        return prompt


class TrainingRecipe(Part):
    """How the rows are trained. The optimizer is AdamW; gradients are clipped to norm 1."""

    framework: Framework = Field(
        default="pytorch",
        description="`tensorflow`: Keras 3 on TensorFlow, in the image `training-tensorflow`, on one host and for base "
        "models of the families llama, mistral and qwen2; a second job, of the PyTorch image, evaluates and packages "
        "the model.",
    )
    method: Method = Field(
        default="sft",
        description="`sft`: conversations, with loss on the answers alone. `dpo`: rows with `chosen` and `rejected`, "
        "by direct preference optimization (Rafailov et al. 2023, arXiv:2305.18290). `pretrain`: rows with `text`, "
        "with loss on every token.",
    )
    translations: list[TranslationTask] = Field(
        default=[],
        exclude_if=lambda tasks: not tasks,
        description="For `sft`: how rows of kind translation are trained; several: each row is trained in each way.",
    )
    adapter: Adapter = Field(
        default="lora",
        description="`lora`: low-rank updates beside frozen weights. `qlora`: the same beside weights of 4 bits "
        "(Dettmers et al. 2023, arXiv:2305.14314), merged into the original ones. `none`: all weights are trained.",
    )
    lora: Lora = Lora()
    beta: float = Field(
        default=0.1, gt=0, description="For `dpo`: how strongly the model is kept near the base model's answers."
    )
    epochs: int = Field(default=1, ge=1, description="How often each row is trained.")
    max_steps: int = Field(default=0, ge=0, description="Optimizer steps; 0: `epochs` decides.")
    batch_size: int = Field(
        default=16,
        ge=1,
        description="Rows an optimizer step, of all processes together; of `pretrain`, chunks. As many as fit into the "
        "memory are computed at a time.",
    )
    learning_rate: float = Field(default=1e-4, gt=0, description="Peak learning rate, after the warm-up.")
    warmup_steps: int = Field(default=0, ge=0, description="Steps in which the learning rate grows linearly from 0.")
    schedule: Schedule = Field(
        default="linear",
        description="How the learning rate falls after the warm-up: `linear` to 0, by half a `cosine` to 0 (Loshchilov "
        "and Hutter 2017, arXiv:1608.03983), or not at all.",
    )
    weight_decay: float = Field(
        default=0.0,
        ge=0,
        description="Decoupled (Loshchilov and Hutter 2019, arXiv:1711.05101): share of a weight, times the learning "
        "rate, that each step takes off. Biases and norms are not decayed.",
    )
    max_tokens: int = Field(
        default=512,
        ge=8,
        description="Of a sequence. A longer row is an error that names its line; `pretrain` cuts rows into chunks.",
    )
    packing: bool = Field(
        default=False,
        description="Pack the rows of a batch into sequences, without attention between rows: of up to `max_tokens` on "
        "a GPU; all into one on processors, where a shared beginning of rows, such as a system prompt, is computed "
        "once for all rows that are trained at a time. The loss stays the same; packing saves time where lengths "
        "differ or shared beginnings are long.",
    )
    precision: Literal["auto", "bf16", "f32"] = Field(
        default="auto",
        description="Of training and evaluation; auto: bf16 where the GPU (without one, the processor) has it.",
    )
    checkpoint_steps: int = Field(
        default=20,
        ge=1,
        description="Optimizer steps between checkpoints, and between measurements of the validation loss.",
    )
    patience: int = Field(
        default=0,
        ge=0,
        description="Consecutive measurements of the validation loss without improvement after which training ends "
        "early; the weights with the lowest loss are the result. 0: training runs to its end, and the last weights are "
        "the result.",
    )
    threads: int = Field(default=0, ge=0, description="0: all processors.")
    seed: int = 0
    gradient_checkpointing: Literal["auto"] | bool = Field(
        default="auto",
        description="Compute activations twice instead of keeping them (Chen et al. 2016, arXiv:1604.06174): slower, "
        "with equal losses. auto: on a GPU where otherwise not even one row fits.",
    )
    sharding: Literal["auto"] | bool = Field(
        default="auto",
        description="Where several GPUs train, keep weights, gradients and the optimizer in shards, one on each (FSDP2;"
        " Zhao et al. 2023, arXiv:2304.11277), not whole on all of them: slower. auto: where they would fill more than "
        "60 % of a GPU.",
    )

    @model_validator(mode="after")
    def _each_key_counts(self) -> "TrainingRecipe":
        """Reject settings without effect."""
        default = TrainingRecipe.model_fields
        if self.adapter == "none" and self.lora != default["lora"].default:
            raise ValueError("`lora` has no effect with `adapter: none`: leave it out, or set `adapter: lora`")
        if self.method != "dpo" and self.beta != default["beta"].default:
            raise ValueError(f"`beta` has no effect with `method: {self.method}`: leave it out, or set `method: dpo`")
        if self.translations and self.method != "sft":
            raise ValueError(f"`translations` has no effect with `method: {self.method}`: leave it out")
        if self.method == "dpo" and self.packing:
            raise ValueError("`packing` is not supported with `method: dpo`: remove it")
        if self.sharding is True and self.adapter == "qlora":
            raise ValueError("`sharding` is not supported with `adapter: qlora`: remove it, or set `adapter: lora`")
        self._check_framework()
        if self.max_steps and self.epochs != default["epochs"].default:
            raise ValueError("`epochs` has no effect with `max_steps`: leave one of them out")
        if self.max_steps and self.warmup_steps > self.max_steps:
            raise ValueError(f"`warmup_steps` is more than `max_steps`, {self.max_steps}: lower it")
        return self

    def _check_framework(self) -> None:
        """Reject settings that the TensorFlow trainer does not support."""
        if self.framework == "pytorch":
            return
        lacking = {
            "method: dpo": self.method == "dpo",
            "adapter: qlora": self.adapter == "qlora",
            "lora.dropout": bool(self.lora.dropout),
            "packing": self.packing,
            "sharding: true": self.sharding is True,
            "gradient_checkpointing: true": self.gradient_checkpointing is True,
        }
        if found := next((setting for setting, there in lacking.items() if there), ""):
            raise ValueError(
                f"`{found}` is not supported with `framework: tensorflow`: remove it, or remove `framework` to train "
                "with PyTorch"
            )
