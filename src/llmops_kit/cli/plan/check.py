"""The memory, time and cost of a training on each type of machine, estimated before any is paid for. Starts no job."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from llmops_kit.cli.images.image_program import run_in_image
from llmops_kit.cli.importing.importing import work_folder
from llmops_kit.cli.importing.outlines import OutlineSource, fetch_outline_source, stored_outline
from llmops_kit.cli.interfaces.platform import Platform, Say
from llmops_kit.cli.machines.machines import MachineType, find_type, gpu_types
from llmops_kit.cli.machines.prices import Prices, is_azure
from llmops_kit.cli.plan.run_cost import dollars
from llmops_kit.core.documents.dataset import DatasetManifest
from llmops_kit.core.documents.estimate import Estimate, EstimateRequest, MachineFit, MachineMemory
from llmops_kit.core.documents.recipe import Recipe
from llmops_kit.core.documents.recipe_training import Adapter
from llmops_kit.core.documents.run import Compute, RunSpec
from llmops_kit.core.errors import KitError
from llmops_kit.core.layout import MANIFEST

UTILISATION = 0.35
"""Assumed share of a GPU's peak throughput. Dense models trained on A100s reached 0.3 to 0.5 (Chowdhery et al. 2022,
arXiv:2204.02311, table 3); short rows and small batches reach less.
"""
_LOCAL_SOURCES = ("path", "folder")


@dataclass(frozen=True)
class MachineEstimate:
    """A row of the check. None means unknown."""

    machine: str
    hosts: int
    gpu: str
    fits: bool
    reason: str
    micro_batch: int
    accumulation: int
    sharded: bool
    checkpointing: bool
    precision: str
    peak_gb: float
    peak: dict[str, int]
    """Bytes by kind."""
    hours: float | None
    usd: float | None
    usd_an_hour: float | None = None
    """Cost of all hosts."""
    own: bool = False
    """True if the stack's runs use it."""
    cheapest: bool = False
    """True for the cheapest that fits, by the cost of the whole training."""

    @property
    def label(self) -> str:
        """The machine, with the number of hosts."""
        return f"{self.hosts} x {self.machine}" if self.hosts > 1 else self.machine

    @property
    def peak_words(self) -> str:
        """The peak memory of each GPU."""
        return f"{self.peak_gb:.1f} GB" if self.peak_gb >= 0.1 else "less than 0.1 GB"


@dataclass(frozen=True)
class TrainingCheck:
    """The result of `llmops train --check`."""

    recipe: str
    adapter: Adapter
    parameters: int
    trained: int
    tokens: int | None
    assumptions: list[str]
    machines: list[MachineEstimate]

    @property
    def words(self) -> str:
        """A one-line summary: the stack's own machine, and the cheapest by the hour that can train the recipe."""
        own = next((each for each in self.machines if each.own), None)
        found = []
        if own:
            label = own.label if own.gpu == "none" else f"{own.label} ({own.gpu})"
            found.append(f"{label} trains it at {own.peak_words}" if own.fits else f"{label}: {own.reason}")
        fitting = [each for each in self.machines if each.fits and each.usd_an_hour is not None]
        if least := min(fitting, key=lambda each: each.usd_an_hour or 0.0, default=None):
            found.append(
                f"the cheapest that does: {least.label} ({least.gpu}) at {least.peak_words}, "
                f"{dollars(least.usd_an_hour)} an hour"
            )
        elif not any(each.fits for each in self.machines):
            found.append("no machine of the kit's table trains it")
        return "; ".join(found)

    @property
    def problem(self) -> KitError | None:
        """The error for a stack whose own machine can't train the recipe; None if it can, or is unknown."""
        own = next((each for each in self.machines if each.own), None)
        if own is None or own.fits:
            return None
        ways = ["a smaller max_tokens" if self.adapter == "qlora" else "`adapter: qlora`, a smaller max_tokens"]
        if cheapest := next((each.machine for each in self.machines if each.cheapest), ""):
            ways.insert(0, f"--instance-type {cheapest}")
        elif fitting := [each.machine for each in self.machines if each.fits]:
            ways.insert(0, f"--instance-type {fitting[0]}")
        return KitError(
            f"the stack's own machine can't train this recipe: {own.reason}",
            where=own.machine,
            fix=" or ".join(ways),
        )

    def fields(self) -> dict[str, Any]:
        """Returns the fields of `--json`; `problem` says why the stack's own machine can't train it, or is empty."""
        problem = self.problem
        return asdict(self) | {"problem": problem.what if problem else ""}


def check_training(
    recipe: Recipe,
    recipe_path: Path,
    platform: Platform | None,
    own: Compute | None,
    prices: Prices | None,
    say: Say,
) -> TrainingCheck:
    """Estimates how each type of machine would train a recipe.

    Args:
        recipe: the content of `recipe_path`.
        recipe_path: its file; local sources and folders are relative to it.
        platform: the stack in operation; None: it is not deployed.
        own: the stack's machines; None: runs use this machine, or it is unknown.
        prices: of the stack's region; None: its runs use this machine.
        say: called before slow steps.

    Raises:
        KitError: another trainer trains it; or the base model's configuration or a row can't be used; with the fix.
    """
    _require_estimable(recipe, str(recipe_path))
    with work_folder() as work:
        (work / "outline").mkdir()
        model = fetch_outline_source(platform, recipe.base_model, work / "outline", say, recipe_path.parent)
        rows = _rows(recipe, recipe_path, platform, work, say) if model.has_tokenizer else None
        return _held_against_machines(recipe, model, rows, own, prices, work, say)


def check_run(spec: RunSpec, platform: Platform, own: Compute, prices: Prices, say: Say) -> TrainingCheck:
    """Estimates how each type of machine would train a run again; its rows are not fetched.

    Args:
        spec: of a run of the stack.
        platform: the stack in operation.
        own: the machines that it would get.
        prices: of the stack's region.
        say: called before slow steps.

    Raises:
        KitError: another trainer trains it; or the base model's configuration can't be used; with the fix.
    """
    _require_estimable(spec.recipe, f"run {spec.id}")
    with work_folder() as work:
        (work / "outline").mkdir()
        ref = platform.store().require_identity(spec.base_model.name, spec.base_model.sha256)
        model = OutlineSource(stored_outline(platform, ref, work / "outline"))
        return _held_against_machines(spec.recipe, model, None, own, prices, work, say)


def _require_estimable(recipe: Recipe, where: str) -> None:
    """Raises KitError unless the kit's PyTorch trainer trains the recipe: only its memory and time are known."""
    if recipe.trainer:
        raise KitError(
            "the requirements of a trainer other than the kit's are unknown",
            where=f"{where}: trainer",
            fix="leave `trainer` out to see the requirements of the kit's own with the same `training`",
        )
    if recipe.training.framework != "pytorch":
        raise KitError(
            "memory and time of TensorFlow are not estimated",
            where=f"{where}: training.framework",
            fix="leave `--check` out and watch peak_mb of the first steps; or check the recipe without "
            "training.framework, as PyTorch would train it",
        )


def _held_against_machines(
    recipe: Recipe,
    model: OutlineSource,
    rows: Path | None,
    own: Compute | None,
    prices: Prices | None,
    work: Path,
    say: Say,
) -> TrainingCheck:
    types = _candidates(own, prices) if prices else []
    hosts = {own.instance_type.lower(): own.instances} if own else {}
    request = EstimateRequest(
        training=recipe.training,
        system_prompt=recipe.serving.system_prompt,
        rows=str(rows or ""),
        machines=[_asked(each, hosts.get(each.name.lower(), 1)) for each in types],
    )
    answer = _ask(model, request, work, say)
    tokens = _tokens(recipe, answer)
    found = [
        _row(fit, machine, hosts.get(fit.name.lower(), 1), prices, tokens, own)
        for fit, machine in zip(answer.machines, types or [None], strict=True)
    ]
    return TrainingCheck(
        recipe.name,
        recipe.training.adapter,
        answer.parameters,
        answer.trained,
        tokens,
        _assumptions(answer, recipe),
        _marked(found),
    )


def _candidates(own: Compute | None, prices: Prices) -> list[MachineType]:
    """Returns the cheapest machine of each GPU model and count, and the stack's own.

    Raises:
        KitError: the kit's table lacks the stack's own.
    """
    chosen: dict[tuple[str, int, int], tuple[float, MachineType]] = {}
    for each in gpu_types(is_azure(prices.region)):
        assert each.gpu
        price = prices.instance("training", each.name)
        key = (each.gpu.name, each.gpu.gigabytes, each.gpus)
        cost = price.amount if price else float("inf")
        if key not in chosen or cost < chosen[key][0]:
            chosen[key] = (cost, each)
    found = [each for _, each in chosen.values()]
    usual = find_type(own.instance_type) if own else None
    if own and usual is None:
        raise KitError(
            "is not in the kit's table of machines", where=own.instance_type, fix="--instance-type with another one"
        )
    return found if usual is None or usual in found else [usual, *found]


def _asked(machine: MachineType, hosts: int) -> MachineMemory:
    return MachineMemory(
        name=machine.name,
        gpus=machine.gpus * hosts,
        memory=machine.memory,
        bf16=bool(machine.gpu and machine.gpu.bf16_tflops),
    )


def _rows(recipe: Recipe, recipe_path: Path, platform: Platform | None, work: Path, say: Say) -> Path | None:
    """Returns the file of training rows if all sources are on this machine; None otherwise: a check fetches none."""
    from llmops_kit.cli.data.build import build_dataset, ner_folder, no_models

    if _remote_source(recipe):
        return None
    say("preparing the recipe's rows, to count their tokens")
    target = work / "dataset"
    model = (lambda alias: ner_folder(platform, alias, say)) if platform else no_models
    build_dataset(recipe, recipe_path.parent, target, model=model, say=say)
    return target / DatasetManifest.load(target / MANIFEST).splits["train"]


def _remote_source(recipe: Recipe) -> str:
    """Returns the first source that isn't on this machine; "" if all are."""
    from llmops_kit.cli.data.sources import kind_of

    return next((each.source for each in recipe.data.sources if kind_of(each) not in _LOCAL_SOURCES), "")


def _ask(model: OutlineSource, request: EstimateRequest, work: Path, say: Say) -> Estimate:
    """Runs the estimate in the training image's environment, because it needs torch, which this one lacks.

    One program reads a GGUF file's configuration and estimates with it: to load torch is most of either.
    """
    asked, answered = work / "request.json", work / "estimate.json"
    asked.write_text(request.model_dump_json())
    say("tracing a step of the model's configuration; no weight is read")
    template = ("--chat-template", model.template) if model.template else ()
    command = ("training", "-m", "llmops_kit.training", "estimate", model.path, asked, answered, *template)
    run_in_image(*command, label="check", work=work, say=say, what="the estimate ended")
    return Estimate.model_validate_json(answered.read_text())


def _tokens(recipe: Recipe, answer: Estimate) -> int | None:
    """Returns the tokens of the whole training; None if they were not counted."""
    lengths, options = answer.lengths, recipe.training
    if lengths.tokens is None or not lengths.examples:
        return None
    if options.max_steps:
        return round(options.max_steps * options.batch_size * lengths.tokens / lengths.examples)
    return lengths.tokens * options.epochs


def _row(
    fit: MachineFit,
    machine: MachineType | None,
    hosts: int,
    prices: Prices | None,
    tokens: int | None,
    own: Compute | None,
) -> MachineEstimate:
    throughput = machine.gpu.tflops(fit.precision) if machine and machine.gpu else None
    price = prices.instance("training", machine.name) if prices and machine else None
    hours = None
    if fit.fits and throughput and tokens is not None:
        hours = tokens * fit.padding * fit.flops_per_token / (fit.gpus * throughput * 1e12 * UTILISATION) / 3600
    gpu = f"{machine.gpu.name} {machine.gpu.gigabytes} GB" if machine and machine.gpu else ""
    return MachineEstimate(
        machine=fit.name,
        hosts=hosts,
        gpu=f"{fit.gpus} x {gpu}" if gpu else f"{fit.gpus} GPUs" if fit.gpus else "none",
        fits=fit.fits,
        reason=fit.reason,
        micro_batch=fit.micro_batch,
        accumulation=fit.accumulation,
        sharded=fit.sharded,
        checkpointing=fit.checkpointing,
        precision=fit.precision,
        peak_gb=round(fit.peak.total / 1e9, 2),
        peak=fit.peak.model_dump(),
        hours=hours,
        usd=hours * price.amount * hosts if hours is not None and price else None,
        usd_an_hour=price.amount * hosts if price else None,
        own=machine is None or bool(own and own.instance_type.lower() == fit.name.lower()),
    )


def _marked(found: list[MachineEstimate]) -> list[MachineEstimate]:
    """Marks the cheapest that fits, if any cost is known."""
    priced = [(each.usd, number) for number, each in enumerate(found) if each.fits and each.usd is not None]
    best = min(priced)[1] if priced else -1
    return [replace(each, cheapest=number == best) for number, each in enumerate(found)]


def _assumptions(answer: Estimate, recipe: Recipe) -> list[str]:
    lengths = answer.lengths
    if lengths.counted:
        rows = f"{lengths.examples} examples were counted: {lengths.tokens} tokens, the longest {lengths.longest}"
    else:
        remote = _remote_source(recipe)
        why = f", since a check downloads none, and {remote} is not on this machine" if remote else ""
        rows = f"rows were not counted{why}: each is taken for {lengths.longest} tokens; time and cost are unknown"
    words = [rows]
    if any(each.gpus for each in answer.machines):
        words += [
            f"time: {UTILISATION:.0%} of a GPU's peak throughput; without evaluation, start and download",
            "memory: 90 % of a GPU's is used, as when training; the figures were never held against a GPU",
        ]
    if recipe.training.adapter == "qlora":
        words.append("making 4-bit weights whole takes time that is not counted")
    return words
