"""Fine-tuning by transformers' trainer and peft, with the kit's own objectives and checkpoints."""

import json
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from llmops_kit.core.documents.model import TrainingFacts
from llmops_kit.core.documents.recipe_training import TrainingRecipe
from llmops_kit.core.documents.training_metrics import metrics_text
from llmops_kit.core.garbage import collect_garbage_again
from llmops_kit.core.layout import METRICS
from llmops_kit.training import checkpoints
from llmops_kit.training.checkpoint_folders import LOCAL_PREFIX, RESULT, CheckpointFolders, emptied
from llmops_kit.training.data.examples import Examples, load_splits
from llmops_kit.training.devices import Precision, best_device, precision_on
from llmops_kit.training.guard import require_change, weights_digest
from llmops_kit.training.models.weights import load_model, load_tokenizer, save_weights
from llmops_kit.training.process import say, set_threads
from llmops_kit.training.publishing import Publisher
from llmops_kit.training.ranks import Alone, StoppedError
from llmops_kit.training.torch_trainer.adapters import build_model
from llmops_kit.training.torch_trainer.batch_tensors import Collator, pack_size
from llmops_kit.training.torch_trainer.objectives import Objective, PreferenceLoss, TokenLoss, adapter_off, frozen
from llmops_kit.training.torch_trainer.sharding import is_sharded, sums_of_bits, trained_digest
from llmops_kit.training.torch_trainer.validation import Validation

_SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}  # transformers' names


def finetune(
    base: Path,
    train_rows: Path,
    options: TrainingRecipe,
    system_prompt: str,
    folder: Path,
    stop_asked: Callable[[], bool] = lambda: False,
    ranks: Alone | None = None,
    validation_rows: Path | None = None,
) -> TrainingFacts:
    """Trains by the recipe's method, resuming from the newest complete checkpoint. Equal inputs, threads and ranks give
    equal bytes.

    Args:
        base: the base model's version.
        train_rows: the file of the split to train (`read_rows`).
        options: the recipe's training section.
        system_prompt: prepended to conversations without a system message, as by the server.
        folder: receives checkpoints, and the result, `trained/`: an adapter of peft's, or files of weights, and
            metrics.jsonl. Incomplete files are written to the machine's own disk.
        stop_asked: called after each step; True ends the run with a checkpoint.
        ranks: the ranks that train together; each takes its share of every batch. Only rank 0 writes to `folder`.
        validation_rows: the split whose loss is measured, and with `options.patience` determines which step's weights
            are the result.

    Raises:
        DataError: a row can't be trained by the method, or is too long; with file and line.
        DivergedError: the loss is not finite, or jumped.
        StoppedError: `stop_asked` returned True.
    """
    if (facts := checkpoints.notes_of(folder / RESULT)) is not None:
        return TrainingFacts.model_validate(facts)
    ranks = ranks or Alone()
    ranks.connect()
    with tempfile.TemporaryDirectory(prefix=LOCAL_PREFIX) as local:
        tokenizer = load_tokenizer(base)
        place = CheckpointFolders(folder, Path(local), ranks.beside_first(Path(local)))
        examples, held_out = load_splits(train_rows, validation_rows, tokenizer, options, system_prompt, Path(local))
        job = _Job(base, tokenizer, examples, held_out, options, place, ranks)
        return _finetune(job, stop_asked)


class _Job(NamedTuple):
    """The inputs and parts of a training."""

    base: Path
    tokenizer: Any
    examples: Examples
    held_out: Examples | None
    options: TrainingRecipe
    place: CheckpointFolders
    ranks: Alone

    @property
    def tokens_per_step(self) -> float:
        """Average tokens per step of all ranks together."""
        return self.examples.tokens / math.ceil(len(self.examples) / self.options.batch_size)


def _finetune(job: _Job, stop_asked: Callable[[], bool]) -> TrainingFacts:
    place, ranks = job.place, job.ranks
    trainer = _make_trainer(job, stop_asked)
    set_threads(job.options.threads)  # after the trainer, which sets them itself if there are several ranks
    start = ranks.share(checkpoints.restored(place.kept, place.local) if ranks.first else None, place.local)
    if start:
        say(resume=start.name)
        trainer.remember(start)
    else:
        trainer.digest_before = trained_digest(trainer.model, ranks)
    if not trainer.ended:
        with Publisher() as trainer.publisher:
            trainer.train(resume_from_checkpoint=str(start) if start else None)
            trainer.publisher.wait()
        ranks.together()  # no rank ends before there is a checkpoint
    if stop_asked() and trainer.state.global_step < trainer.state.max_steps:
        raise StoppedError(
            f"stopped after step {trainer.state.global_step} of {trainer.state.max_steps}",
            where=str(place.kept),
            fix="start the run again: it resumes from there",
        )
    facts, weights = trainer.facts(job.tokens_per_step), trainer.result()
    if not ranks.first:
        return facts
    require_change(trainer.digest_before, weights_digest(sums_of_bits(weights)), facts.best_step or facts.steps)
    work = emptied(place.local / RESULT)
    (save_weights if job.options.adapter == "none" else _save_adapter)(trainer.model, weights, work)
    (work / METRICS).write_text(metrics_text(trainer.watch.steps))
    checkpoints.publish(work, place.kept / RESULT, facts.model_dump())
    return facts


def is_trained(folder: Path) -> bool:
    """Returns whether a folder contains a complete result of `finetune`."""
    return checkpoints.notes_of(folder / RESULT) is not None


def _make_trainer(job: _Job, stop_asked: Callable[[], bool]) -> Any:
    from llmops_kit.training.torch_trainer.attention import attend_by_sequence
    from llmops_kit.training.torch_trainer.sharded_loading import load_if_sharded
    from llmops_kit.training.torch_trainer.trainer import KitTrainer
    from llmops_kit.training.torch_trainer.watch import ProgressCallback

    collect_garbage_again()
    options, place = job.options, job.place
    device = best_device()
    precision = precision_on(device, options.precision)
    pad = job.tokenizer.pad_token_id
    validation = Validation(job.held_out, Collator(pad), options.checkpoint_steps, options.patience, job.ranks)
    watch = ProgressCallback(job.tokens_per_step, stop_asked, validation, place.best)
    model = load_if_sharded(job.base, options, precision, job.ranks, device)
    if model is None:
        model = build_model(job.base, options, precision, device)
    joined = options.packing and device.type == "cpu" and attend_by_sequence(model)
    trainer: Any = KitTrainer(
        model=model,
        args=_trainer_settings(options, place, job.ranks, device, precision),
        train_dataset=job.examples,
        data_collator=Collator(pad, pack_size(options, device.type == "cuda"), joined),
        callbacks=[watch],
    )
    trainer.watch, trainer.place, trainer.ranks, trainer.precision = watch, place, job.ranks, precision
    trainer.may_checkpoint = options.gradient_checkpointing == "auto"
    trainer.may_quantize = options.adapter != "qlora"
    trainer.training_objective = watch.objective = _objective(job, trainer)
    return trainer


def _objective(job: _Job, trainer: Any) -> Objective:
    """Returns the objective of the recipe's method. The reference of DPO is the base model: the trained one without its
    adapter, or a second one, which computes exactly as the trained one does before its first step.
    """
    if job.options.method != "dpo":
        return TokenLoss()
    autocast = trainer.accelerator.autocast
    if job.options.adapter != "none":
        return PreferenceLoss(job.options.beta, adapter_off(trainer.model, autocast))
    if is_sharded(trainer.model):
        from llmops_kit.training.torch_trainer.sharded_loading import load_reference

        second = load_reference(job.base, trainer.precision, job.ranks, trainer.args.device)
        trainer.sharded_models.append(second)
    else:
        second = load_model(job.base).to(trainer.args.device)
    return PreferenceLoss(job.options.beta, frozen(second, autocast))


def _trainer_settings(
    options: TrainingRecipe, place: CheckpointFolders, ranks: Alone, device: Any, precision: Precision
) -> Any:
    from transformers import TrainingArguments

    from llmops_kit.training.torch_trainer.scaled_trainer import CHECKPOINTING

    return TrainingArguments(
        output_dir=str(place.saved),
        num_train_epochs=options.epochs,
        max_steps=options.max_steps or -1,
        per_device_train_batch_size=options.batch_size // ranks.size,
        learning_rate=options.learning_rate,
        warmup_steps=options.warmup_steps,
        lr_scheduler_type=_SCHEDULES[options.schedule],
        optim="adamw_torch",
        weight_decay=options.weight_decay,
        max_grad_norm=1.0,
        seed=options.seed,
        data_seed=options.seed,
        bf16=precision == "bf16",
        use_cpu=device.type == "cpu",
        ddp_find_unused_parameters=False,
        activation_checkpointing=options.gradient_checkpointing is True,
        activation_checkpointing_kwargs=dict(CHECKPOINTING),
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        logging_strategy="steps",
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=options.checkpoint_steps,
        report_to=[],
        disable_tqdm=True,
    )


def _save_adapter(model: Any, weights: dict[str, Any], folder: Path) -> None:
    """Saves an adapter as peft does, but with equal bytes for equal adapters, and without its empty model card."""
    model.save_pretrained(folder, state_dict=weights)
    (folder / "README.md").unlink()
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    config["base_model_name_or_path"] = None  # a folder on this machine
    config["target_modules"] = sorted(config["target_modules"])
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
