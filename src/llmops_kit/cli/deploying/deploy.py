"""Steps of `up` and `down` before and after the engine's own work."""

import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

from llmops_kit.cli.images.due import bring_images
from llmops_kit.cli.interfaces.platform import Live, Platform, Say
from llmops_kit.cli.platforms import registry
from llmops_kit.cli.pulumi_engine import provider_guard
from llmops_kit.cli.runs.runs import require_collected
from llmops_kit.cli.stacks.locks import Lock, locks_of, require_free
from llmops_kit.cli.stacks.stack import PulumiStack
from llmops_kit.clouds.targets import TARGETS
from llmops_kit.core.documents.outputs import EndpointOutput, StackOutputs
from llmops_kit.core.documents.stack_home import HOME_RECORD
from llmops_kit.core.errors import KitError
from llmops_kit.core.integrity.stack_homes import foreign, home_of, home_of_hosting, is_home_of
from llmops_kit.core.layout import cache_dir
from llmops_kit.core.names import parse_promoted
from llmops_kit.core.rejections import NOT_TO_BLAME

_ROOM_BYTES = 2_000_000_000  # two copies of a model version with both of its formats
_READY_SECONDS = 60
_WAIT_SECONDS = 600
_LOOK_SECONDS = 2.0
_SKEW_SECONDS = 60  # between this machine's clock and a cloud's


def up(stack: PulumiStack, say: Say, *, dev: bool = False, refresh: bool = False, build: bool = True) -> None:
    """Runs the preflight checks and `pulumi up`. Settles operations that an interrupted update began first.

    Args:
        stack: the stack.
        say: called before slow steps.
        dev: accept a cloud stack whose state is only on this machine.
        refresh: read the live state of every resource first.
        build: build images of a cloud stack that are missing or stale.

    Raises:
        KitError: something is missing on this machine, `pulumi up` failed (its output was passed through), or the
            cloud rolled an endpoint back.
    """
    preflight(stack, say, dev)
    free(stack, say)
    if build:
        bring_images(stack, say)
    always = refresh or registry.operations_of(stack.target).always_refresh
    looked = ["--refresh"] if always or _is_undone(stack) else []
    began = time.time()
    try:
        _run(stack, "up", "--yes", *looked, "--skip-preview", "--suppress-outputs")
    except KitError:
        _refuse_undone(stack, began, say)
        raise


def preflight(stack: PulumiStack, say: Say, dev: bool = False) -> None:
    """Checks the program, the free disk space and the target before anything is deployed.

    It also builds the images of a local stack, and creates a new stack.

    Raises:
        KitError: there is no program, the disk is nearly full, or a check of the target failed.
    """
    stack.project.require_program()
    for folder in {_existing(stack.project.folder), _existing(cache_dir())}:
        if (there := shutil.disk_usage(folder).free) < _ROOM_BYTES:
            raise KitError(
                f"only {there / 1e9:.1f} GB are free; {_ROOM_BYTES / 1e9:.0f} GB are needed",
                where=str(folder),
                fix="free some space; `du -sh .llmops/*` shows what models and runs take",
            )
    registry.preflight(stack, say, dev=dev, make=True)


def _is_undone(stack: PulumiStack) -> bool:
    """Returns whether the cloud rolled back the last update of an endpoint. The provider may have reported success, if
    the rollback ended between two of its looks; then the state records the update as done, until it is refreshed.
    """
    try:
        platform = registry.open_platform(stack.outputs())
        return any(platform.live(name).undone for name, each in platform.outputs.endpoints.items() if each.on)
    except KitError:
        return False  # a first update has no endpoint; whatever else is wrong, the update itself says


def _refuse_undone(stack: PulumiStack, since: float, say: Say) -> None:
    """Looks for the first endpoint that the cloud itself rolled back since then; rejects its version if that caused it.

    Raises:
        KitError: an endpoint was rolled back.
    """
    try:
        platform = registry.open_platform(stack.outputs())
    except KitError:
        return  # the first update failed, so there was no endpoint to roll back
    for name, entry in stack.file.promoted().items():
        if name not in platform.outputs.endpoints or not platform.outputs.endpoints[name].on:
            continue
        live = _settled(platform, name, say)
        asked = parse_promoted(entry.model)
        if live.changed < since - _SKEW_SECONDS or asked.sha256 in live.models:
            continue
        if fault := platform.version_fault(name, since - _SKEW_SECONDS):
            store = platform.store()
            if not store.rejection(asked.sha256):  # the program may have rejected it already
                store.reject(asked, f"its rollout was undone: {fault}", name)
            raise KitError(
                f"the update was rolled back: {fault}; {asked.alias} is marked rejected",
                where=f"endpoint {name}",
                fix=f"`llmops rollback --endpoint {name}`, then `llmops up`",
            )
        if live.undone:
            raise KitError(
                f"the update was rolled back: {live.undone}; {asked.alias} {NOT_TO_BLAME}",
                where=f"endpoint {name}",
                fix=f"rerun `llmops up` once the cause is gone; or `llmops rollback --endpoint {name}`",
            )


def _settled(platform: Platform, endpoint: str, say: Say) -> Live:
    """Returns the state of an endpoint once its rollback has ended, or after the maximum wait."""
    deadline = time.monotonic() + _WAIT_SECONDS
    while (live := platform.live(endpoint)).undone and not live.ready and time.monotonic() < deadline:
        say(f"{endpoint}: waiting for the rollback to end")
        time.sleep(_LOOK_SECONDS)
    return live


def free(stack: PulumiStack, say: Say) -> None:
    """Checks that no other update is running, and refreshes the state if an interrupted one left pending operations.

    Raises:
        KitError: there is a lock on the stack.
    """
    if find := _locks_of(stack):
        require_free(find(), stack.name)
    if pending := stack.pending():
        say(f"refreshing after an interrupted update: {', '.join(urn.rpartition('::')[2] for urn in pending)}")
        _run(stack, "refresh", "--yes", "--skip-preview", "--suppress-outputs", "--clear-pending-creates")


def _run(stack: PulumiStack, *arguments: str) -> None:
    _refuse_planted(stack)
    stack.run(*arguments)


def _refuse_planted(stack: PulumiStack) -> None:
    """Checks the providers in the state, which an engine of the user's would execute; the kit's own never does.

    Raises:
        KitError: one is not the kit's.
    """
    if stack.has_own_engine:
        return
    for urn, refused in provider_guard.check(stack.export(), stack.file.target):
        raise KitError(str(refused), where=urn, fix=refused.fix)


def _locks_of(stack: PulumiStack) -> Callable[[], list[Lock]] | None:
    """Returns a function that lists the locks on a stack; None if the backend is a service with its own locking."""
    if folder := stack.state_folder:
        return partial(locks_of, folder, stack.name, stack.project.name)
    return registry.state_locks(stack, stack.name)


def check_live(platform: Platform, say: Say) -> None:
    """Checks that every endpoint is ready and serves the deployed version.

    A server is ready only after it has verified its model and answered the golden prompt.

    Raises:
        KitError: an endpoint is not ready, or serves another version.
    """
    for name, output in platform.outputs.endpoints.items():
        if output.on:
            _check_endpoint(platform, name, output)
            say(f"{name}: {output.model.partition('@sha256')[0]} is live at {output.url}")


def _check_endpoint(platform: Platform, name: str, output: EndpointOutput) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while not (live := platform.live(name)).ready and time.monotonic() < deadline:
        time.sleep(0.2)
    fix = f"`llmops logs {name}` shows why; `llmops rollback && llmops up` restores the previous version"
    if not live.ready:
        raise KitError(
            f"endpoint {name} is not ready{': ' + live.problem if live.problem else ''}", where=output.url, fix=fix
        )
    others = {sha for sha, part in live.models.items() if part > 0} - {output.sha256}
    if others or output.sha256 not in live.models:
        found = ", ".join(sorted(live.models)) or "nothing"
        raise KitError(f"endpoint {name} serves {found}, not sha256:{output.sha256}", where=output.url, fix=fix)


def down(stack: PulumiStack, say: Say, *, discard_runs: bool = False) -> None:
    """Removes everything but the data: endpoints and the resources of runs; store and keys stay.

    Args:
        stack: the stack.
        say: called with each step.
        discard_runs: proceed even if completed runs were not collected.

    Raises:
        KitError: such runs would be lost, or the stack does not exist.
    """
    registry.preflight(stack, say, dev=True, make=False)
    if not stack.exists():
        raise KitError(
            f"stack {stack.name} does not exist, so there is nothing to remove",
            where=str(stack.file.path),
            fix="choose another stack with --stack; `pulumi stack ls` lists those of this backend",
        )
    free(stack, say)
    _stop_runs(stack, say, discard_runs or registry.operations_of(stack.target).keeps_runs)
    _run(stack, "destroy", "--exclude-protected", "--yes", "--skip-preview", "--suppress-outputs")


def _stop_runs(stack: PulumiStack, say: Say, discard: bool) -> None:
    """Stops running runs, which would keep costing money in a cloud; raises KitError if results would be lost."""
    try:
        outputs = stack.outputs()
        platform = registry.open_platform(outputs)
    except KitError:
        return  # never deployed
    _require_own(outputs, stack.project.program_project)
    if not discard:
        require_collected(platform, say)
    platform.halt(say)


def down_with_data(stack: PulumiStack, name: str, say: Say) -> None:
    """Removes everything, including models, datasets and keys.

    Args:
        stack: the stack.
        name: the stack's name, typed by the user as confirmation.
        say: called with each step.

    Raises:
        KitError: the name is not the stack's, or the cloud still keeps the stack's audit log.
    """
    if name != stack.name:
        raise KitError(
            f"--data {name} is not the name of the stack, which is {stack.name}",
            where=str(stack.file.path),
            fix=f"`llmops down --stack {stack.name} --data {stack.name}` removes models, datasets and keys",
        )
    registry.preflight(stack, say, dev=True, make=False)
    outputs = stack.outputs()
    _require_own(outputs, stack.project.program_project)
    platform = registry.open_platform(outputs)
    if kept := platform.audit_log():
        raise KitError(
            "the stack's audit log is kept there, and would become unreadable with the stack's keys",
            where=kept,
            fix=f"`llmops down --stack {stack.name}` removes all but data, keys and log; repeat this once the log's "
            "retention is over and it is deleted",
        )
    free(stack, say)
    stack.run("state", "unprotect", "--all", "--yes")
    say(f"removing every model version, dataset version and run of {stack.name}")
    # Before destroy: protected buckets have no force_destroy, so they must be empty.
    platform.remove_data()
    looked = ["--refresh"] if registry.operations_of(stack.target).data_has_resources else []
    _run(stack, "destroy", *looked, "--yes", "--skip-preview", "--suppress-outputs")
    if outputs.hosting:
        shutil.rmtree(outputs.hosting, ignore_errors=True)
        _remove_home(Path(outputs.hosting).parent)


def _require_own(outputs: StackOutputs, project: Path) -> None:
    """Checks that the outputs in a state name no folders of this machine but the project's, whose content is removed.

    Raises:
        KitError: one is another project's, or nobody's.
    """
    target = TARGETS.get(outputs.target)
    if target and target.is_cloud and not outputs.hosting:
        return
    store, runs = unquote(urlsplit(outputs.store.url).path), outputs.training.runs
    homes = {store: home_of(store, "store"), runs: home_of(runs, "runs")}
    if outputs.hosting:
        homes[outputs.hosting] = home_of_hosting(outputs.hosting)
    for path, home in homes.items():
        if home.exists() and not is_home_of(home, project):
            raise foreign(path)


def _remove_home(home: Path) -> None:
    """Removes the folder of a stack on this machine, unless there are other files in it."""
    with suppress(OSError):
        (home / "keys").rmdir()
    with suppress(OSError):
        if [each.name for each in home.iterdir()] == [HOME_RECORD]:
            (home / HOME_RECORD).unlink()
        home.rmdir()


def _existing(folder: Path) -> Path:
    return next(f for f in (folder, *folder.parents) if f.exists())
