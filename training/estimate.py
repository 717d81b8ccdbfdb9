"""Which machines a training fits on, and how each would train: by the trainer's own decisions, on traced steps.

Nothing is trained, and no weights are read: the model's configuration suffices. Imports torch: import it where it is
used.
"""

import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import torch
from transformers import AutoConfig

from contract.documents.estimate import Estimate, EstimateRequest, MachineFit, MachineMemory, PeakMemory, RowLengths
from contract.documents.recipe_training import Training
from contract.errors import KitError
from training.devices import Precision, best_device, precision_on
from training.examples import load_examples
from training.fake_step import Moment, Shape, StepTrace, layers_alike, outline, trace_step, weight_bytes
from training.micro_batches import USABLE, MemoryUse, rows_on_cpu, rows_on_gpu
from training.sharding import blocks, fill_a_gpu
from training.weights import load_tokenizer

THIS_MACHINE = "this machine"
_GATHERED = 2  # blocks whose weights FSDP2 holds whole: the one that computes, and the next, which is on its way
_GIB = 1 << 30


def estimate(folder: Path, request: EstimateRequest) -> Estimate:
    """Returns how each machine would train.

    Args:
        folder: contains the model's config.json and, to count rows, its tokenizer.
        request: recipe and machines.

    Raises:
        KitError: transformers does not know the configuration.
        DataError: a row can't be trained; with file and line.
    """
    plan = _Plan(_read_config(folder), request.training, _count(folder, request))
    machines = request.machines or [_this_machine(request.training)]
    return Estimate(
        parameters=plan.sizes("f32").parameters,
        trained=plan.sizes("f32").trained,
        lengths=plan.lengths,
        machines=[plan.fit(machine) for machine in machines],
    )


class _Sizes(NamedTuple):
    """Sizes of a model with its adapter."""

    parameters: int
    """Number of weights, without the adapter's."""
    trained: int
    weights: int
    """Bytes of the weights."""
    gathered: int
    """Bytes that sharded training holds unsharded: everything outside of blocks, and some blocks, with their
    gradients.
    """


class _Plan:
    """Traces that are made once and used for each machine."""

    def __init__(self, config: Any, options: Training, lengths: RowLengths) -> None:
        self._config, self._options, self.lengths = config, options, lengths
        self._alike = layers_alike(outline(config, options, "f32"))
        self.sizes, self._trace = cache(self._sizes), cache(self._trace_rows)

    def fit(self, machine: MachineMemory) -> MachineFit:
        """Returns how a machine would train."""
        options = self._options
        precision: Precision = options.precision if options.precision != "auto" else "bf16" if machine.bf16 else "f32"
        ranks = max(1, machine.gpus)
        sizes, rows = self.sizes(precision), max(1, options.batch_size // ranks)
        shards = ranks if ranks > 1 and self._shards(sizes, machine.memory) else 1
        copies = ranks > shards
        checkpointing = options.gradient_checkpointing is True

        def peak_of(count: int) -> tuple[int, PeakMemory]:
            return self._peak(count, rows, precision, checkpointing, shards, copies)

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
        step = self._trace(1, precision, checkpointing)
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
            flops_per_token=step.flops / self.lengths.longest,
        )

    def _shards(self, sizes: _Sizes, memory: int) -> bool:
        """Returns whether the model is sharded, decided as in `training.sharding.shard_if_needed`."""
        if self._options.adapter == "qlora":
            return False
        asked = self._options.sharding
        return asked is True or (asked == "auto" and fill_a_gpu(sizes.weights, sizes.trained, memory))

    def _peak(
        self, rows: int, most: int, precision: Precision, checkpointing: bool, shards: int, copies: bool
    ) -> tuple[int, PeakMemory]:
        """Returns the peak memory for a number of rows at a time, interpolated between those of 1 and `most` rows,
        which never underestimates it.
        """
        sizes, ends = self.sizes(precision), (1, most)
        traces = [self._trace(end, precision, checkpointing) for end in ends]
        gradients = 4 * sizes.trained
        moments: list[tuple[int, int]] = []  # total, gradients
        for moment in ("start", "end"):
            low, high = (getattr(trace, moment) for trace in traces)
            between = Moment(*(a + (b - a) * (rows - 1) // max(1, most - 1) for a, b in zip(low, high, strict=True)))
            # With accumulation, gradients of the micro-batch before are there from the beginning.
            there = gradients if rows < most else between.gradients
            moments.append((between.total + there - between.gradients, there))
        update = traces[0].update
        fixed = sizes.weights + 2 * gradients
        found = []
        for number, (total, there) in enumerate([*moments, (update.total, gradients)]):
            rest = total - fixed - there
            # DDP exchanges gradients in buffers of their size.
            rest = rest // shards if number == 2 else rest + (sizes.gathered if shards > 1 else gradients * copies)
            parts = [sizes.weights // shards, there // shards, 2 * gradients // shards, rest]
            found.append((sum(parts), parts))
        total, parts = max(found)
        weights, grads, optimizer, activations = parts
        return total, PeakMemory(weights=weights, gradients=grads, optimizer=optimizer, activations=activations)

    def _trace_rows(self, rows: int, precision: Precision, checkpointing: bool) -> StepTrace:
        shape = Shape(rows, self.lengths.longest, self.lengths.loss_bearing)
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
        inside = [weight_bytes(block, four_bit) for block in blocks(model)]
        weights = list(model.parameters())
        trained = [weight for weight in weights if weight.requires_grad]
        trained_inside = [sum(w.nbytes for w in block.parameters() if w.requires_grad) for block in blocks(model)]
        root_gradients = sum(w.nbytes for w in trained) - sum(trained_inside)
        adapter = 0 if self._options.adapter == "none" else sum(w.numel() for w in trained)
        whole = weight_bytes(model, four_bit)
        outside = whole - sum(inside)
        models = 2 if self._options.method == "dpo" and self._options.adapter == "none" else 1  # the other: a reference
        return _Sizes(
            parameters=sum(w.numel() for w in weights) - adapter,
            trained=sum(w.numel() for w in trained),
            weights=models * whole,
            gathered=models * outside + root_gradients + _GATHERED * (max(inside) + max(trained_inside)),
        )


def _read_config(folder: Path) -> Any:
    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError, KeyError) as e:
        raise KitError(
            f"transformers can't read the model's configuration: {str(e).splitlines()[0]}",
            where=str(folder / "config.json"),
            fix="take a base model of an architecture that transformers itself has",
        ) from None


def _count(folder: Path, request: EstimateRequest) -> RowLengths:
    """Returns the lengths of the rows' examples, or assumed ones without rows."""
    most = request.training.max_tokens
    if not request.rows:
        bearing = most - 1 if request.training.method == "pretrain" else most // 2
        return RowLengths(counted=False, longest=most, loss_bearing=bearing)
    with tempfile.TemporaryDirectory() as temporary:
        target = Path(temporary, "rows.arrow")
        tokenizer = load_tokenizer(folder)
        examples = load_examples(Path(request.rows), tokenizer, request.training, request.system_prompt, target)
        sequences = [sequence for i in range(len(examples)) for sequence in examples[i].sequences]
        return RowLengths(
            counted=True,
            examples=len(examples),
            longest=max(len(s.ids) for s in sequences),
            loss_bearing=max(int(s.answer.sum()) for s in sequences),
            tokens=examples.tokens,
        )


def _this_machine(options: Training) -> MachineMemory:
    device = best_device()
    if device.type == "cuda":
        memory, gpus = torch.cuda.get_device_properties(device).total_memory, torch.cuda.device_count()
    else:
        memory, gpus = psutil.virtual_memory().total, 0
    bf16 = precision_on(device, "auto") == "bf16"
    return MachineMemory(name=THIS_MACHINE, gpus=gpus, memory=memory, bf16=bf16)


def answer(folder: Path, request: Path, target: Path) -> None:
    """Reads a request, and writes the estimate as JSON."""
    asked = EstimateRequest.model_validate(json.loads(request.read_text()))
    target.write_text(estimate(folder, asked).model_dump_json())
