"""Estimates which machines a training fits on, and how each would train: the trainer's decisions, on traced steps.

Trains nothing and reads no weights: the model's configuration suffices. Imports torch: import it where it is used.
"""

import random
import shutil
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import torch
from transformers import AutoConfig

from llmops_kit.core.documents.estimate import (
    Estimate,
    EstimateRequest,
    MachineFit,
    MachineMemory,
    PeakMemory,
    RowLengths,
)
from llmops_kit.core.documents.recipe_training import TrainingRecipe
from llmops_kit.core.errors import KitError
from llmops_kit.training.data.examples import Examples, load_examples
from llmops_kit.training.data.layouts import ALL, joined_width, rows_of
from llmops_kit.training.devices import Precision, best_device, precision_on
from llmops_kit.training.models.from_gguf import write_outline
from llmops_kit.training.models.importing import find_source
from llmops_kit.training.models.weights import load_tokenizer
from llmops_kit.training.torch_trainer.attention import can_attend_by_sequence
from llmops_kit.training.torch_trainer.batch_tensors import pack_size
from llmops_kit.training.torch_trainer.fake_step import (
    Moment,
    Shape,
    StepTrace,
    layers_alike,
    outline,
    trace_step,
    weight_bytes,
)
from llmops_kit.training.torch_trainer.micro_batches import USABLE, MemoryUse, rows_on_cpu, rows_on_gpu
from llmops_kit.training.torch_trainer.sharding import blocks, fill_a_gpu, own_head
from llmops_kit.training.torch_trainer.token_losses import LOGITS_AT_A_TIME

THIS_MACHINE = "this machine"
_DRAWN = 4096  # examples whose padding is counted
_GATHERED = 2  # blocks whose weights FSDP2 holds whole: the one that computes, and the next, which is on its way
_GIB = 1 << 30


def estimate(folder: Path, request: EstimateRequest, *, until_one_fits: bool = False) -> Estimate:
    """Returns how each machine would train.

    Args:
        folder: contains the model's config.json and, to count rows, its tokenizer.
        request: recipe and machines.
        until_one_fits: whether machines after the first that fits are left out.

    Raises:
        KitError: transformers does not know the configuration.
        DataError: a row can't be trained; with file and line.
    """
    with tempfile.TemporaryDirectory() as work:
        plan = _Plan(_read_config(folder), request.training, *_count(folder, request, Path(work)))
        return _answer(plan, request, until_one_fits)


def _answer(plan: "_Plan", request: EstimateRequest, until_one_fits: bool) -> Estimate:
    fits: list[MachineFit] = []
    for machine in request.machines or [_this_machine(request.training)]:
        fits.append(plan.fit(machine))
        if until_one_fits and fits[-1].fits:
            break
    return Estimate(
        parameters=plan.sizes("f32").parameters,
        trained=plan.sizes("f32").trained,
        lengths=plan.lengths,
        machines=fits,
    )


class _Sizes(NamedTuple):
    """Sizes of a model with its adapter."""

    parameters: int
    """Number of weights, without the adapter's."""
    trained: int
    weights: int
    """Bytes of the weights."""
    gathered: int
    """Bytes of weights that sharded training holds whole: those outside of blocks, and those of some blocks."""
    whole_gradients: int
    """Most bytes of gradients that it holds whole: of a block, and of head or embeddings, with the f32 copies that are
    sent.
    """


class _Plan:
    """Traces that are made once and used for each machine."""

    def __init__(
        self,
        config: Any,
        options: TrainingRecipe,
        lengths: RowLengths,
        sequences: list[list[int]],
        examples: Examples | None = None,
    ) -> None:
        """Without examples, shared prefixes are unknown."""
        self._config, self._options, self.lengths = config, options, lengths
        self._sequences, self._examples = sequences, examples
        order = sorted(range(len(sequences)), key=lambda i: -sum(sequences[i]))
        self._longest = order[: options.batch_size]
        model = outline(config, options, "f32")
        self._alike, self._joins = layers_alike(model), can_attend_by_sequence(model)
        self.sizes, self._trace = cache(self._sizes), cache(self._trace_shape)

    def fit(self, machine: MachineMemory) -> MachineFit:
        """Returns how a machine would train."""
        options = self._options
        precision: Precision = options.precision if options.precision != "auto" else "bf16" if machine.bf16 else "f32"
        ranks = max(1, machine.gpus)
        sizes, rows = self.sizes(precision), max(1, options.batch_size // ranks)
        shards = ranks if ranks > 1 and self._shards(sizes, machine.memory) else 1
        copies = ranks > shards
        checkpointing = options.gradient_checkpointing is True

        pack_to = pack_size(options, bool(machine.gpus))

        def peak_of(count: int) -> tuple[int, PeakMemory]:
            return self._peak(count, rows, pack_to, precision, checkpointing, shards, copies)

        usable = int(machine.memory * USABLE)
        if machine.gpus and options.gradient_checkpointing == "auto" and peak_of(1)[0] > usable:
            checkpointing = True
        if machine.gpus:
            kept = sizes.weights // shards + 3 * 4 * sizes.trained // shards
            micro = rows_on_gpu(rows, machine.memory, lambda count: MemoryUse(peak_of(count)[0], kept))
            while micro > 1 and peak_of(micro)[0] > usable:
                micro //= 2
        else:
            micro = rows_on_cpu(rows, self.lengths.longest)
        total, peak = peak_of(micro)
        reason = "" if total <= usable else f"needs {total / _GIB:.1f} of {usable / _GIB:.1f} GiB for one row"
        if options.batch_size % ranks:
            reason = f"batch_size {options.batch_size} can't be split evenly over {ranks} GPUs"
        shape = self._shape(1, pack_to)
        step = self._trace(shape, precision, checkpointing)
        return MachineFit(
            name=machine.name,
            gpus=machine.gpus,
            fits=not reason,
            reason=reason,
            precision=precision,
            sharded=shards > 1,
            checkpointing=checkpointing,
            micro_batch=micro,
            accumulation=-(-rows // micro),
            peak=peak,
            padding=self._padding(micro, pack_to),
            flops_per_token=step.flops / (shape.rows * shape.tokens),
        )

    def _shards(self, sizes: _Sizes, memory: int) -> bool:
        """Returns whether the model is sharded, decided as in
        `llmops_kit.training.torch_trainer.sharding.needs_shards`.
        """
        if self._options.adapter == "qlora":
            return False
        asked = self._options.sharding
        return asked is True or (asked == "auto" and fill_a_gpu(sizes.weights, sizes.trained, memory))

    def _peak(
        self, rows: int, most: int, pack_to: int, precision: Precision, checkpointing: bool, shards: int, copies: bool
    ) -> tuple[int, PeakMemory]:
        """Returns the peak memory for a number of examples at a time, interpolated between traced ones by their tokens,
        padding included.
        """
        sizes, ends = self.sizes(precision), self._ends(rows, most)
        shapes = [self._shape(end, pack_to) for end in ends]
        traces = [self._trace(shape, precision, checkpointing) for shape in shapes]
        first, last, own = (shape.rows * shape.tokens for shape in (*shapes, self._shape(rows, pack_to)))
        gradients = 4 * sizes.trained
        moments: list[tuple[int, int]] = []  # total, gradients
        for moment in ("start", "end"):
            low, high = (getattr(trace, moment) for trace in traces)
            between = Moment(
                *(a + (b - a) * (own - first) // max(1, last - first) for a, b in zip(low, high, strict=True))
            )
            # With accumulation, gradients of the micro-batch before are there from the beginning.
            there = gradients if rows < most else between.gradients
            moments.append((between.total + there - between.gradients, there))
        update = traces[0].update
        fixed = sizes.weights + 2 * gradients
        found = []
        for number, (total, there) in enumerate([*moments, (update.total, gradients)]):
            rest = total - fixed - there
            # DDP exchanges gradients in buffers of their size.
            if shards > 1 and number < 2:
                rest += sizes.gathered + min(there, sizes.whole_gradients)
            else:
                rest = rest // shards if number == 2 else rest + gradients * copies
            parts = [sizes.weights // shards, there // shards, 2 * gradients // shards, rest]
            found.append((sum(parts), parts))
        total, parts = max(found)
        weights, grads, optimizer, activations = parts
        return total, PeakMemory(weights=weights, gradients=grads, optimizer=optimizer, activations=activations)

    def _ends(self, rows: int, most: int) -> tuple[int, int]:
        """Returns the traced numbers of examples around one: of 1, `most`, and the number from which on logits are
        widened in parts of a fixed size, so that memory grows more slowly.
        """
        vocabulary = self._config.get_text_config().vocab_size
        bend = min(max(1, -(-LOGITS_AT_A_TIME // (vocabulary * self.lengths.loss_bearing))), most)
        return (1, bend) if rows <= bend else (bend, most)

    def _shape(self, count: int, pack_to: int) -> Shape:
        """Returns the shape of a micro-batch of the longest examples."""
        longest = self._longest[:count]
        lengths = [length for i in longest for length in self._sequences[i]]
        rows, width = self._laid_out(longest, pack_to)
        targets = len(lengths) * self.lengths.loss_bearing
        return Shape(rows, width, min(targets, sum(lengths)), masked=rows < len(lengths) and pack_to < ALL)

    def _laid_out(self, examples: Sequence[int], pack_to: int) -> tuple[int, int]:
        """Returns the number of rows for the examples of these numbers, and the rows' width, as a collator's."""
        if pack_to == ALL and self._joins and self._examples:
            return 1, joined_width([sequence.ids for i in examples for sequence in self._examples[i].sequences])
        rows, width = rows_of([length for i in examples for length in self._sequences[i]], pack_to)
        return len(rows), width

    def _padding(self, count: int, pack_to: int) -> float:
        """Returns the tokens that are computed for each of the examples' own, in micro-batches of a random order."""
        order = random.Random(0).sample(range(len(self._sequences)), min(len(self._sequences), _DRAWN))
        laid_out = (self._laid_out(order[start : start + count], pack_to) for start in range(0, len(order), count))
        return sum(rows * width for rows, width in laid_out) / sum(sum(self._sequences[i]) for i in order)

    def _trace_shape(self, shape: Shape, precision: Precision, checkpointing: bool) -> StepTrace:
        return trace_step(
            self._config,
            self._options,
            precision,
            shape,
            checkpointing=checkpointing,
            foreach=True,
            shortened=self._alike,
        )

    def _sizes(self, precision: Precision) -> _Sizes:
        model = outline(self._config, self._options, precision)
        four_bit = self._options.adapter == "qlora"
        weights = list(model.parameters())
        trained = [weight for weight in weights if weight.requires_grad]
        adapter = 0 if self._options.adapter == "none" else sum(w.numel() for w in trained)
        whole = weight_bytes(model, four_bit)
        models = 2 if self._options.method == "dpo" and self._options.adapter == "none" else 1  # the other: a reference
        gathered, gradients = _held_whole(model, 2 if precision == "bf16" else 4)
        return _Sizes(
            parameters=sum(w.numel() for w in weights) - adapter,
            trained=sum(w.numel() for w in trained),
            weights=models * whole,
            gathered=models * gathered,
            whole_gradients=gradients,
        )


def _held_whole(model: Any, size: int) -> tuple[int, int]:
    """Returns the bytes of weights and of gradients that are temporarily whole after `sharding.shard`.

    Args:
        model: an outline.
        size: bytes of a weight that travels.
    """
    inside = [list(block.parameters()) for block in blocks(model)]
    head = [] if (own := own_head(model)) is None else list(own.parameters())
    apart = {id(weight) for group in (*inside, head) for weight in group}
    rest = [weight for weight in model.parameters() if id(weight) not in apart]
    widest = max(sum(w.numel() for w in block) for block in inside)
    weights = size * (_GATHERED * widest + sum(w.numel() for w in head)) + sum(w.nbytes for w in rest)
    of_blocks, of_head, of_rest = (
        max(sum(w.numel() for w in group if w.requires_grad) for group in groups) for groups in (inside, [head], [rest])
    )
    sent = 4  # bytes of a gradient that travels
    return weights, (size + sent) * of_blocks + max((size + sent) * of_head, (4 + sent) * of_rest)


def _read_config(folder: Path) -> Any:
    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError, KeyError) as e:
        raise KitError(
            f"transformers can't read the model's configuration: {str(e).splitlines()[0]}",
            where=str(folder / "config.json"),
            fix="take a base model of an architecture that transformers itself has",
        ) from None


def _count(folder: Path, request: EstimateRequest, work: Path) -> tuple[RowLengths, list[list[int]], Examples | None]:
    """Returns the lengths of the rows' examples, or assumed ones without rows; of each example's sequences; and the
    examples, in a file in `work`.
    """
    options = request.training
    if not request.rows:
        bearing = options.max_tokens - 1 if options.method == "pretrain" else options.max_tokens // 2
        assumed = [[options.max_tokens] * (2 if options.method == "dpo" else 1)] * options.batch_size
        return RowLengths(counted=False, longest=options.max_tokens, loss_bearing=bearing), assumed, None
    tokenizer = load_tokenizer(folder)
    examples = load_examples(Path(request.rows), tokenizer, options, request.system_prompt, work / "rows.arrow")
    lengths: list[list[int]] = []
    bearing = 0
    for i in range(len(examples)):
        sequences = examples[i].sequences
        lengths.append([len(sequence.ids) for sequence in sequences])
        bearing = max(bearing, *(int(sequence.answer.sum()) for sequence in sequences))
    counted = RowLengths(
        counted=True,
        examples=len(examples),
        longest=max(map(max, lengths)),
        loss_bearing=bearing,
        tokens=examples.tokens,
    )
    return counted, lengths, examples


def _this_machine(options: TrainingRecipe) -> MachineMemory:
    device = best_device()
    if device.type == "cuda":
        memory, gpus = torch.cuda.get_device_properties(device).total_memory, torch.cuda.device_count()
    else:
        memory, gpus = psutil.virtual_memory().total, 0
    bf16 = precision_on(device, "auto") == "bf16"
    return MachineMemory(name=THIS_MACHINE, gpus=gpus, memory=memory, bf16=bf16)


def answer(source: Path, request: EstimateRequest, target: Path, chat_template: Path | None = None) -> None:
    """Writes the estimate as JSON.

    Args:
        source: a folder with config.json; or a GGUF file, or a folder that holds one, whose configuration and tokenizer
            are read first.
        request: recipe and machines.
        target: the file of the answer.
        chat_template: taken instead of the GGUF file's own.

    Raises:
        KitError: as `estimate`, or the GGUF file can't be read.
    """
    if (source / "config.json").is_file():
        target.write_text(estimate(source, request).model_dump_json())
        return
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        write_outline(find_source(source), folder)
        if chat_template:
            shutil.copyfile(chat_template, folder / "chat_template.jinja")
        target.write_text(estimate(folder, request).model_dump_json())
