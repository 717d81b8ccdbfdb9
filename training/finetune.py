"""Supervised fine-tuning: LoRA by trl and peft, with checkpoints of our own."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from contract.documents.model import TrainingFacts
from contract.documents.recipe_training import Training
from contract.errors import DataError
from training import checkpoints
from training.chat import Encoded, encode, with_system
from training.checkpoint_folders import CheckpointFolders, emptied
from training.devices import Precision, best_device, precision_on, torch_dtype
from training.process import say, set_threads
from training.ranks import Alone, StoppedError
from training.rows import read_rows
from training.validation import Validation
from training.weights import load_model, load_tokenizer

RESULT = "trained"
"""The folder of the trained adapter."""
LOCAL_PREFIX = "training-"
"""Of folders for temporary files, whose names end at random."""
IGNORED = -100  # the label of tokens without loss, in torch and transformers


def load_examples(path: Path, tokenizer: Any, max_tokens: int, system_prompt: str) -> list[Encoded]:
    """Tokenise the rows to train, in order; a row gives several examples where the chat template needs it (`encode`).

    Raises:
        DataError: a row that is no conversation, that the chat template can't render, or that is longer than
            `max_tokens`, because cutting it would train answers without an end.
    """
    examples: list[Encoded] = []
    for number, row in read_rows(path):
        where = f"{path}:{number}"
        if row.kind != "chat":
            raise DataError(f"is a {row.kind} row", where=where, fix="give conversations: `messages`")
        try:
            tools = [tool.to_dict() for tool in row.tools]
            encoded = encode(tokenizer, with_system(row.turns, system_prompt), tools, row.completion)
        except DataError as e:
            raise DataError(e.what, where=where, fix=e.fix) from None
        if (longest := max(len(e.ids) for e in encoded)) > max_tokens:
            raise DataError(
                f"is {longest} tokens long; training.max_tokens is {max_tokens}",
                where=where,
                fix="raise training.max_tokens in the recipe, or shorten the row",
            )
        examples += encoded
    return examples


def finetune(
    base: Path,
    train_rows: Path,
    options: Training,
    system_prompt: str,
    folder: Path,
    stop_asked: Callable[[], bool] = lambda: False,
    ranks: Alone | None = None,
    validation_rows: Path | None = None,
) -> TrainingFacts:
    """Train an adapter; goes on from the newest complete checkpoint. Equal inputs, threads and ranks give equal bytes.

    Args:
        base: the base model's version.
        train_rows: the split to train, JSON lines.
        options: the recipe's training section.
        system_prompt: put first where a row has none, as the server will.
        folder: keeps checkpoints, and the result, `trained/`: an adapter of peft's. What is not complete yet is written
            to the machine's own disk.
        stop_asked: asked after each step; True ends the run with a checkpoint.
        ranks: who trains together; each takes its share of every batch. Only rank 0 leaves something in `folder`.
        validation_rows: the split whose loss is measured, and with `options.patience` decides which step's adapter is
            the result.

    Raises:
        DataError: a row too long.
        DivergedError: the loss is not finite, or jumped.
        StoppedError: `stop_asked` said so.
    """
    if (facts := checkpoints.notes_of(folder / RESULT)) is not None:
        return TrainingFacts.model_validate(facts)
    with tempfile.TemporaryDirectory(prefix=LOCAL_PREFIX) as local:
        tokenizer, ranks = load_tokenizer(base), ranks or Alone()
        examples, held_out = (
            load_examples(path, tokenizer, options.max_tokens, system_prompt) if path else []
            for path in (train_rows, validation_rows)
        )
        validation = Validation(held_out, options.checkpoint_steps, options.patience, tokenizer.pad_token_id, ranks)
        place = CheckpointFolders(folder, Path(local))
        return _finetune(base, tokenizer, examples, validation, options, place, stop_asked, ranks)


def _finetune(
    base: Path,
    tokenizer: Any,
    examples: list[Encoded],
    validation: Validation,
    options: Training,
    place: CheckpointFolders,
    stop_asked: Callable[[], bool],
    ranks: Alone,
) -> TrainingFacts:
    ranks.connect()
    trainer = _make_trainer(base, tokenizer, examples, validation, options, place, stop_asked, ranks)
    set_threads(options.threads)  # now, as the library sets them too when there are several ranks
    start = ranks.share(checkpoints.restored(place.kept, place.local) if ranks.first else None, place.local)
    if start:
        say(resume=start.name)
        trainer.remember(start)
    if not validation.exhausted:
        trainer.train(resume_from_checkpoint=str(start) if start else None)
    if stop_asked() and trainer.state.global_step < trainer.state.max_steps:
        raise StoppedError(
            f"stopped after step {trainer.state.global_step} of {trainer.state.max_steps}",
            where=str(place.kept),
            fix="start the run again: it goes on from there",
        )
    facts = trainer.facts(sum(len(e.ids) for e in examples) * options.epochs)
    if not ranks.first:
        return facts
    work = emptied(place.local / RESULT)
    if place.best.exists():
        trainer.take_best()
    _save_adapter(trainer.model, work)
    checkpoints.publish(work, place.kept / RESULT, facts.model_dump())
    return facts


def is_trained(folder: Path) -> bool:
    """Whether `finetune` has left its whole result there."""
    return checkpoints.notes_of(folder / RESULT) is not None


def _make_trainer(
    base: Path,
    tokenizer: Any,
    examples: list[Encoded],
    validation: Validation,
    options: Training,
    place: CheckpointFolders,
    stop_asked: Callable[[], bool],
    ranks: Alone,
) -> Any:
    from datasets import Dataset

    from training.trainer import KitTrainer
    from training.watch import ProgressCallback

    device = best_device()
    precision = precision_on(device, options.precision)
    watch = ProgressCallback(sum(len(e.ids) for e in examples) * options.epochs, stop_asked, validation, place.best)
    trainer = KitTrainer(
        model=_adapted_model(base, options, precision),
        args=_trainer_settings(options, place, ranks, device, precision),
        train_dataset=Dataset.from_list(_labelled(examples, ranks)),
        processing_class=tokenizer,
        callbacks=[watch],
    )
    trainer.watch, trainer.place, trainer.ranks, trainer.precision = watch, place, ranks, precision
    return trainer


def _adapted_model(base: Path, options: Training, precision: Precision) -> Any:
    """The base model with a new adapter, which is drawn with the recipe's seed."""
    from peft import LoraConfig, get_peft_model
    from transformers import set_seed

    # The adapter stays f32 in either precision; only the frozen weights and the products are bf16.
    model = load_model(base, torch_dtype(precision))
    set_seed(options.seed)
    lora = options.lora
    return get_peft_model(
        model,
        LoraConfig(
            r=lora.r,
            lora_alpha=lora.alpha,
            lora_dropout=lora.dropout,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        ),
    )


def _trainer_settings(
    options: Training, place: CheckpointFolders, ranks: Alone, device: Any, precision: Precision
) -> Any:
    from trl.trainer.sft_config import SFTConfig

    return SFTConfig(
        output_dir=str(place.saved),
        num_train_epochs=options.epochs,
        per_device_train_batch_size=options.batch_size // ranks.size,
        learning_rate=options.learning_rate,
        warmup_steps=options.warmup_steps,
        lr_scheduler_type="linear",
        optim="adamw_torch",
        weight_decay=0.0,
        max_grad_norm=1.0,
        seed=options.seed,
        data_seed=options.seed,
        bf16=precision == "bf16",
        use_cpu=device.type == "cpu",
        ddp_find_unused_parameters=False,
        # Measured: recomputing activations costs a fifth of the speed, and they fit.
        gradient_checkpointing=False,
        # Rows are short: padding them costs less than attention over a packed row does.
        packing=False,
        dataset_kwargs={"skip_prepare_dataset": True},
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


def _labelled(examples: list[Encoded], ranks: Alone) -> list[dict[str, list[int]]]:
    """Rows for the trainer. The last of several ranks' rows has no loss: for a rank whose share of a short last batch
    is empty.
    """
    rows = [{"input_ids": e.ids, "labels": [t if a else IGNORED for t, a in zip(*e, strict=True)]} for e in examples]
    if ranks.size > 1:
        rows.append({"input_ids": examples[0].ids, "labels": [IGNORED] * len(examples[0].ids)})
    return rows


def _save_adapter(model: Any, folder: Path) -> None:
    """Save as peft does, but so that equal adapters are equal bytes, and without its empty model card."""
    model.save_pretrained(folder)
    (folder / "README.md").unlink()
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    config["base_model_name_or_path"] = None  # a folder of this machine's
    config["target_modules"] = sorted(config["target_modules"])
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
