"""The model card of a trained version, in the Hugging Face form: README.md with metadata.

The collector of a run can derive all of its content again, so that a job can't write another card. Form:
https://huggingface.co/docs/hub/model-cards, its `model-index` after https://github.com/paperswithcode/model-index.
"""

import json
import math
from typing import Any

from llmops_kit.core.documents.dataset import DatasetManifest
from llmops_kit.core.documents.model import GateResult, ModelManifest, SuiteResult, TrainingFacts
from llmops_kit.core.documents.recipe import Recipe
from llmops_kit.core.documents.recipe_evaluation import unit_of
from llmops_kit.core.documents.recipe_training import Adapter, Method

_LIMITS = (
    "The scores hold for prompts like those of the suites, and for greedy answers. What the data does not cover was "
    "not measured. The model may state falsehoods with confidence."
)

_METHODS: dict[Method, str] = {
    "sft": "Supervised fine-tuning",
    "dpo": "Direct preference optimization",
    "pretrain": "Training on plain text",
}
_ADAPTER_TAGS: dict[Adapter, list[str]] = {"lora": ["lora"], "qlora": ["lora", "qlora"], "none": []}


def model_card(
    recipe: Recipe,
    base: ModelManifest,
    dataset: DatasetManifest,
    evaluation: list[SuiteResult],
    gate: GateResult,
    facts: TrainingFacts | None,
) -> str:
    """Returns the README.md of a version.

    Args:
        base: the base model's manifest.
        dataset: the manifest of the dataset that it was trained on.
        facts: facts of the training; times are left out, so that equal runs have equal cards. None: another trainer
            reported none.
    """
    sections = [
        _metadata(recipe, base, evaluation),
        f"# {recipe.name}",
        _summary(recipe, base, gate),
        "## Evaluation",
        _scores(evaluation),
        "\n".join(f"- {_line(reason)}" for reason in gate.reasons),
        "## Data",
        _data(dataset),
        "## Training",
        _training(recipe, facts),
        "## Limits",
        _LIMITS,
    ]
    return "\n\n".join(filter(None, sections)) + "\n"


def _metadata(recipe: Recipe, base: ModelManifest, evaluation: list[SuiteResult]) -> str:
    """Returns the front matter; JSON is YAML."""
    origin = base.lineage.origin.source if base.lineage.origin else ""
    results = [
        {
            "task": {"type": "text-generation"},
            "dataset": {"type": recipe.name, "name": f"{recipe.name}, suite {result.suite}", "split": result.split},
            "metrics": [{"type": name, "value": value} for name, value in _published(result).items()],
        }
        for result in evaluation
    ]
    fields: dict[str, Any] = {
        "license": base.licence.lower() or "unknown",
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["llmops-kit", *_method_tags(recipe)],
        "model-index": [{"name": recipe.name, "results": results}],
    }
    if origin.startswith("hub:"):
        fields["base_model"] = origin.removeprefix("hub:")
    lines = "\n".join(f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in sorted(fields.items()))
    return f"---\n{lines}\n---"


def _method_tags(recipe: Recipe) -> list[str]:
    """Returns the hub's tags for the method; none for a user's own trainer, whose method is unknown."""
    options = recipe.training
    return [] if recipe.trainer else [options.method, *_ADAPTER_TAGS[options.adapter]]


def _published(result: SuiteResult) -> dict[str, float]:
    """Returns a suite's scores by the names that the hub has for them (https://huggingface.co/metrics)."""
    if unit_of(result.metric):
        return {"perplexity": round(math.exp(result.after.value), 4)}
    published = {
        "chrf" if each.name == "chrF++" else "bleu": each.after for each in result.corpus if each.name != "placeholders"
    }
    return published or {result.metric: result.after.value}


def _summary(recipe: Recipe, base: ModelManifest, gate: GateResult) -> str:
    verdict = "passed" if gate.passed else "did not pass"
    origin = f" ({base.lineage.origin.source})" if base.lineage.origin else ""
    prompt = recipe.serving.system_prompt
    system = (
        f" Its server puts this system prompt first: {_line(json.dumps(prompt, ensure_ascii=False))}." if prompt else ""
    )
    return f"{base.name}{_line(origin)}, fine-tuned by the LLMOps kit. It {verdict} its evaluation gate.{system}"


def _scores(evaluation: list[SuiteResult]) -> str:
    head = (
        "| suite | split | metric | base model | this model | 95 % interval | groups |\n|---|---|---|---|---|---|---|"
    )
    rows = [
        f"| {r.suite} | {r.split} | {_measure(r)} | {r.before.value:.3f} | {r.after.value:.3f} "
        f"| {r.after.low:.3f} to {r.after.high:.3f} | {r.after.groups} |"
        for r in evaluation
    ]
    corpus = [
        f"| {r.suite} | {r.split} | {each.name}, of all answers{_copied(each.copied)} | {each.before:.2f} "
        f"| {each.after:.2f} | - | - |"
        for r in evaluation
        for each in r.corpus
    ]
    return "\n".join((head, *rows, *corpus))


def _measure(result: SuiteResult) -> str:
    if result.judge:
        return f"{result.metric} ({_cell(result.judge.model)})"
    if result.copied:
        return f"{result.metric}{_copied(result.copied.score.value)}"
    unit = unit_of(result.metric)
    return f"{result.metric} ({unit}; lower is better)" if unit else result.metric


def _copied(score: float | None) -> str:
    return "" if score is None else f" (copying the source: {score:.2f})"


def _data(dataset: DatasetManifest) -> str:
    head = "| source | licence | rows | sha256 |\n|---|---|---|---|"
    rows = [
        f"| {_cell(s.source)} | {_cell(s.licence or 'not stated')} | {s.rows} | {s.sha256} |" for s in dataset.sources
    ]
    kept = ", ".join(f"{split} {count}" for split, count in sorted(dataset.rows.items()))
    dropped = ", ".join(f"{_line(reason)} {count}" for reason, count in dataset.dropped.items())
    return "\n".join((head, *rows)) + f"\n\nRows kept: {kept}. Rows dropped: {dropped or 'none'}."


def _training(recipe: Recipe, facts: TrainingFacts | None) -> str:
    if recipe.trainer:
        command = _line(json.dumps(recipe.trainer.command, ensure_ascii=False))
        told = f" By its own account: {facts.steps} steps, {facts.tokens} tokens, {_losses(facts)}" if facts else ""
        return f"By another trainer than the kit's, {_line(recipe.trainer.image)}: {command}.{told}"
    options = recipe.training
    rank = f"rank {options.lora.r}, alpha {options.lora.alpha}, merged"
    trained = {"lora": f"LoRA ({rank})", "qlora": f"QLoRA (4-bit weights, {rank})", "none": "all weights"}
    beta = f", beta {options.beta:g}" if options.method == "dpo" else ""
    by = "By Keras on TensorFlow. " if options.framework == "tensorflow" else ""
    how = f"{by}{_METHODS[options.method]}{beta}; {trained[options.adapter]}. "
    if facts is None:
        return how.strip()
    return (
        f"{how}{facts.steps} steps of {options.batch_size} "
        f"rows, {facts.tokens} tokens, learning rate {options.learning_rate:g} ({options.schedule}), "
        f"weight decay {options.weight_decay:g}, {_losses(facts)}"
    )


def _losses(facts: TrainingFacts) -> str:
    told = f"precision {facts.precision}. Loss {facts.first_loss} at the first step, {facts.last_loss} at the last."
    if facts.validation_loss is None:
        return told
    of = "" if facts.best_step is None else f" The weights are those of step {facts.best_step}, which had the least."
    return f"{told} Validation loss {facts.validation_loss}.{of}"


def _line(text: str) -> str:
    """Returns a text that can't begin a block of Markdown or an element of HTML."""
    return " ".join(text.split()).replace("<", "&lt;")


def _cell(text: str) -> str:
    return _line(text).replace("|", "\\|")
