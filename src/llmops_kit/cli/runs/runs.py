"""Prepares a recipe's run, and stores the version of a completed one."""

import secrets
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from llmops_kit.cli import __version__
from llmops_kit.cli.interfaces.platform import Platform, Run, Say, doubtful
from llmops_kit.cli.judging.comet import pin_scorers
from llmops_kit.cli.judging.judging import require_keys
from llmops_kit.cli.judging.programs import pin_programs
from llmops_kit.cli.runs.judged import judged_files
from llmops_kit.cli.runs.receipts import check_output
from llmops_kit.cli.runs.trainers import check_base, check_framework, find_trainer
from llmops_kit.cli.store.store import now
from llmops_kit.core.documents.dataset import DatasetManifest
from llmops_kit.core.documents.model import ModelManifest
from llmops_kit.core.documents.recipe import Recipe
from llmops_kit.core.documents.run import Compute, Pinned, RunSpec
from llmops_kit.core.errors import IntegrityError, KitError, NotFoundError, RunError
from llmops_kit.core.hashes import sha256_bytes
from llmops_kit.core.layout import MANIFEST
from llmops_kit.core.names import ModelRef
from llmops_kit.core.validation import did_you_mean, first_message


@dataclass(frozen=True)
class RunPlan:
    """A run that could be submitted, and the existing one with the same inputs."""

    spec: RunSpec
    same: Run | None


def plan_run(
    platform: Platform,
    recipe_path: Path,
    say: Say,
    machines: Mapping[str, Any] | None = None,
    collected: Path | None = None,
) -> RunPlan:
    """Prepares the dataset version and the base model of a run.

    Each is kept in the store, so an interrupted call is resumed by the next one.

    Args:
        platform: the stack in operation.
        recipe_path: the recipe's file.
        say: called before slow steps.
        machines: fields of Compute that override the stack's settings.
        collected: the folder of an earlier `llmops data collect`, used as it is; None: the sources are asked.

    Raises:
        KitError: the recipe, its data or its base model, with file, line and field.
    """
    from llmops_kit.cli.importing.importing import import_model

    compute = other_machines(platform, platform.require_runs(), machines or {})
    recipe = parse_recipe(recipe_path)
    check_framework(platform, recipe, recipe_path, compute, say)
    try:
        require_keys(recipe.evaluation.suites)
    except KitError as e:  # required when the run is collected
        say(f"warning: {e}")
    recipe = recipe.model_copy(update={"evaluation": pin_scorers(platform, recipe.evaluation)})
    trainer = find_trainer(platform, recipe, recipe_path, say)
    dataset, with_tools = put_dataset(platform, recipe, recipe_path, say, collected)
    # The OpenVINO format is needed only for serving the base model: `llmops models convert` adds it.
    base = import_model(platform, recipe.base_model, say, relative_to=recipe_path.parent, openvino=False)
    manifest = platform.store().signed_manifest(base, platform.outputs.signing.public_key)
    manifest.require_task(f"{recipe_path}: base_model.source", "text-generation")
    check_base(platform, recipe, base)
    _check_tools(recipe_path, base, manifest, with_tools)
    spec = RunSpec.new(
        id=f"{recipe.name}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(2)}",
        created=now(),
        recipe=recipe.model_dump(by_alias=True),
        dataset=dataset.model_dump(),
        base_model=Pinned(name=base.name, sha256=base.sha256).model_dump(),
        image=platform.outputs.training.image,
        trainer=trainer.model_dump() if trainer else None,
        kit_version=__version__,
        compute=compute.model_dump() if compute else None,
    )
    same = [r for r in platform.find(f"{recipe.name}-") if r.spec.inputs == spec.inputs]
    return RunPlan(spec, _best(same))


def _check_tools(recipe_path: Path, base: ModelRef, manifest: ModelManifest, with_tools: str) -> None:
    """Refuses data with tools for a base model whose chat template drops them.

    Args:
        recipe_path: the recipe's file.
        base: the base model's version.
        manifest: its manifest.
        with_tools: the data's first row with tools, as file:line; empty without one.
    """
    if with_tools and manifest.lineage.origin and manifest.lineage.origin.tools is False:
        raise KitError(
            f"the chat template of {base.alias} drops tools, their calls or their results, which the data has: "
            f"{with_tools} is the first such row",
            where=f"{recipe_path}: base_model",
            fix="take a base model whose template has them, or set base_model.chat_template to one that does, such as "
            "recipes/assistant/chat_template.jinja for ChatML",
        )


def other_machines(platform: Platform, usual: Compute | None, wanted: Mapping[str, Any]) -> Compute | None:
    """Returns the machines of a run: the usual ones with the wanted changes.

    Raises:
        KitError: a value is invalid, or runs of this target are processes of this machine.
    """
    if not wanted:
        return usual
    options = " ".join(
        f"--{'' if value is not False else 'no-'}{name.replace('_', '-')}" for name, value in wanted.items()
    )
    if usual is None:
        raise KitError(
            f"has no effect on target {platform.outputs.target}: its runs are processes of this machine", where=options
        )
    try:
        chosen = Compute.model_validate(usual.model_dump() | dict(wanted))
    except ValidationError as e:
        fix = f"docs/reference.md says what `llmops:{platform.outputs.target}.jobs` takes"
        raise KitError(first_message(e), where=options, fix=fix) from None
    platform.require_machines(chosen)
    return chosen


class StoredDataset(NamedTuple):
    """A dataset version in the stack's store, for a run to train on."""

    pinned: Pinned
    with_tools: str
    """Its first row with tools, as file:line; empty without one."""


def put_dataset(
    platform: Platform, recipe: Recipe, recipe_path: Path, say: Say, collected: Path | None = None
) -> StoredDataset:
    """Collects and prepares the recipe's data on this machine, and stores it as a dataset version.

    Args:
        platform: the stack in operation.
        recipe: the content of `recipe_path`.
        recipe_path: its file; its paths are relative to it.
        say: called with progress.
        collected: the folder of an earlier collect, used as it is; None: the sources are asked.

    Raises:
        DataError: a source or a row can't be used. RunError: a suite has no rows, or too few groups for the gate.
    """
    from llmops_kit.cli.data.build import build_dataset, ner_folder
    from llmops_kit.cli.data.collect import default_folder
    from llmops_kit.cli.data.dataset_versions import first_with_tools
    from llmops_kit.cli.data.row_sources import naming_sources, source_place
    from llmops_kit.training.evaluation.scoring import check_suites

    with tempfile.TemporaryDirectory() as temporary:
        out, kept = Path(temporary) / "dataset", collected or default_folder(recipe_path)
        build_dataset(
            recipe,
            recipe_path.parent,
            out,
            collected=kept,
            fetch=collected is None,
            secret=lambda name: platform.secret(name),
            model=lambda alias: ner_folder(platform, alias, say),
            say=say,
        )
        manifest = DatasetManifest.load(out / MANIFEST)
        with naming_sources(recipe.data, recipe_path.parent, kept, out):
            check_suites(recipe, out)
        with_tools = first_with_tools(out)
        if with_tools:
            with_tools = source_place(with_tools, recipe.data, recipe_path.parent, kept, out) or with_tools
        sha256 = platform.store().put_dataset(out)
    splits = ", ".join(f"{split} {rows}" for split, rows in manifest.rows.items())
    say(f"dataset {recipe.name} sha256:{sha256[:12]}: {splits}")
    if manifest.dropped:
        say("dropped " + ", ".join(f"{reason} {rows}" for reason, rows in manifest.dropped.items()))
    return StoredDataset(Pinned(name=recipe.name, sha256=sha256), with_tools)


def find_run(platform: Platform, run: str) -> Run:
    """Returns a run by its id or the beginning of it; `latest` is the newest.

    Raises:
        NotFoundError: there is none. RunError: several begin so.
    """
    found = platform.find("" if run == "latest" else run)
    if run == "latest":
        found = found[:1]
    exact = [r for r in found if r.spec.id == run]
    if exact or len(found) == 1:
        return (exact or found)[0]
    if not found:
        meant = did_you_mean(run, ["latest", *(r.spec.id for r in platform.find())])
        raise NotFoundError(f"there is no run {run}", fix=meant or "`llmops runs list` shows the runs")
    ids = ", ".join(r.spec.id for r in found[:5])
    raise RunError(f"{run} is the beginning of {len(found)} runs: {ids}", fix="write more of the id")


def collect(platform: Platform, run: Run, say: Say, reviewed: str = "") -> ModelRef:
    """Numbers, signs, stores and registers the version of a completed run. Safe to repeat.

    With `reviewed`, the identity of the version that was reviewed, it signs no other one.

    The judges of its suites `judge`, and the models of its suites `comet`, are asked first.

    A failed registration is a warning; the platform's `unregistered` returns the version until one succeeds.

    Raises:
        RunError: the run is not complete, or its spec is in doubt.
        KitError: a judge can't be asked.
        IntegrityError: the run's output differs from its spec or its manifest, or is not the reviewed version; nothing
            is signed.
    """
    name, run_id = run.spec.recipe.name, run.spec.id
    store = platform.store()
    ref = store.of_run(name, run_id)
    if ref is None:
        if run.state.status != "completed":
            if is_between(run):
                platform.resume(run_id, say)
                run = find_run(platform, run_id)
            raise not_complete(run)
        if run.doubt:
            raise doubtful(run)
        made = platform.output(run_id)
        checked = check_output(made, run.spec, store)
        written = judged_files(made, checked, run.spec, platform, say)
        _require_reviewed(run_id, sha256_bytes(written[MANIFEST]) if written else checked, reviewed)
        ref = store.put_model(made, platform.sign, checked, say, written)
    _require_reviewed(run_id, ref.sha256, reviewed)
    store.signed_manifest(ref, platform.outputs.signing.public_key)
    try:
        platform.register(ref, say)
    except KitError as e:  # not fatal: the version is in the store, and the kit never reads the registry
        say(f"warning: {ref.alias} is in the store, but not in the registry: {e}")
        say("`llmops runs collect` tries again")
    return ref


def _require_reviewed(run: str, sha256: str, reviewed: str) -> None:
    if reviewed and sha256 != reviewed:
        raise IntegrityError(
            f"its version is sha256:{sha256}, and sha256:{reviewed} was reviewed",
            where=f"run {run}",
            fix=f"`llmops models review {run}` shows the present one; find out what changed it after the review",
        )


def is_between(run: Run) -> bool:
    """Returns whether a run's first job is complete and its second one not started, which `Platform.resume` does."""
    return run.state.status == "pending" and run.state.job == "evaluation"


def collected_version(platform: Platform, run: Run) -> ModelRef:
    """Returns the version of a collected run.

    Raises:
        RunError: it is not complete, or was not collected.
    """
    if run.state.status != "completed":
        raise not_complete(run)
    ref = platform.store().of_run(run.spec.recipe.name, run.spec.id)
    if ref is None:
        fix = f"`llmops runs collect {run.spec.id}` stores its model first"
        raise RunError("was not collected", where=f"run {run.spec.id}", fix=fix)
    return ref


def not_complete(run: Run) -> RunError:
    """Error for a run without a model version."""
    run_id, status = run.spec.id, run.state.status
    if is_between(run):
        what = "has trained, and is not evaluated yet"
        return RunError(what, where=f"run {run_id}", fix=f"`llmops runs follow {run_id}` starts its second job")
    if status == "running":
        return RunError("is still running", where=f"run {run_id}", fix=f"`llmops runs follow {run_id}` waits for it")
    what = f"{status}: {run.state.failure}" if run.state.failure else status
    return RunError(
        what,
        where=f"run {run_id}",
        fix=f"`llmops train --resume {run_id}` resumes from its last checkpoint; see also `llmops runs show {run_id}`",
    )


def _best(runs: list[Run]) -> Run | None:
    """Returns a completed run, else a running one, else the newest."""
    order = ("completed", "running", "pending", "stopped", "failed")
    return min(runs, key=lambda r: order.index(r.state.status), default=None)


def uncollected(platform: Platform) -> list[Run]:
    """Returns the completed runs whose version is not in the store yet, and those whose second job was not started."""
    store = platform.store()
    return [
        r
        for r in platform.find()
        if (r.state.status == "completed" and not store.of_run(r.spec.recipe.name, r.spec.id)) or is_between(r)
    ]


def require_collected(platform: Platform, say: Say) -> None:
    """Checks that no uncollected run would be lost with the storage of runs; warns if the runs can't be listed.

    Raises:
        KitError: naming the runs.
    """
    try:
        found = [run.spec.id for run in uncollected(platform) if not run.doubt]
    except KitError as e:
        say(f"warning: can't check for completed runs that were not collected: {e}")
        return
    if found:
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        raise KitError(
            f"completed runs were not collected, and would be lost: {', '.join(found[:5])}{more}",
            where=f"stack {platform.outputs.stack}",
            fix="`llmops runs collect` stores their models; `llmops down --discard-runs` discards them",
        )


def parse_recipe(path: Path) -> Recipe:
    """Reads a recipe file; keeps the programs of its suites on this machine, named by their SHA-256.

    Raises:
        KitError: it is missing or invalid (with file, line and field); or its base model is on the hub and `revision`
            is not a commit.
    """
    if not path.is_file():
        meant = did_you_mean(str(path), (str(p) for p in path.parent.glob("*.yaml")))
        fix = meant or "give the path of a recipe's YAML file"
        raise NotFoundError("there is no such recipe", where=str(path), fix=fix)
    recipe = Recipe.load(path)
    recipe.base_model.require_commit(f"{path}: base_model.revision")
    return pin_programs(recipe, path)
