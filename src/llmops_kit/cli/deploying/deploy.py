"""up and down: what happens before and after the engine's own work."""

import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from llmops_kit.cli.images.due import bring_images
from llmops_kit.cli.interfaces.platform import Live, Platform, Say
from llmops_kit.cli.platforms import registry
from llmops_kit.cli.pulumi_engine import provider_guard
from llmops_kit.cli.runs.runs import require_collected
from llmops_kit.cli.stacks.locks import Lock, locks_of, require_free
from llmops_kit.cli.stacks.stack import PulumiStack
from llmops_kit.core.documents.outputs import EndpointOutput
from llmops_kit.core.errors import KitError
from llmops_kit.core.layout import cache_dir
from llmops_kit.core.names import parse_promoted
from llmops_kit.core.rejections import NOT_TO_BLAME

_ROOM_BYTES = 2_000_000_000  # a model version in both of its forms, twice
_READY_SECONDS = 60
_WAIT_SECONDS = 600
_LOOK_SECONDS = 2.0
_SKEW_SECONDS = 60  # between this machine's clock and a cloud's


def up(stack: PulumiStack, say: Say, *, dev: bool = False, refresh: bool = False, build: bool = True) -> None:
    """Preflight, `pulumi up`. What an interrupted update had begun is looked at first.

    Args:
        stack: the stack.
        say: told what takes long.
        dev: take a state on a cloud that this machine alone has.
        refresh: look first what every resource is really like.
        build: build images of a cloud stack that are missing or stale.

    Raises:
        KitError: what is missing on this machine, or `pulumi up` failed (its words were passed through).
    """
    preflight(stack, say, dev)
    free(stack, say)
    if build:
        bring_images(stack, say)
    looked = ["--refresh"] if refresh or registry.operations_of(stack.target).always_refresh else []
    began = time.time()
    try:
        _run(stack, "up", "--yes", *looked, "--skip-preview", "--suppress-outputs")
    except KitError:
        _refuse_undone(stack, began, say)
        raise


def preflight(stack: PulumiStack, say: Say, dev: bool = False) -> None:
    """Find out early what would fail late, and do with progress shown what takes long.

    Raises:
        KitError: no program, no room on the disk, a version that the store does not have, an image that can't be built.
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


def _refuse_undone(stack: PulumiStack, since: float, say: Say) -> None:
    """Looks for endpoints that a cloud itself rolled back since then, and rejects a version that is to blame for it.

    Raises:
        KitError: an endpoint was rolled back.
    """
    try:
        platform = registry.open_platform(stack.outputs())
    except KitError:
        return  # a first update that failed: there is no endpoint that could go back
    for name, entry in stack.file.promoted().items():
        if name not in platform.outputs.endpoints or not platform.outputs.endpoints[name].on:
            continue
        live = _settled(platform, name, say)
        asked = parse_promoted(entry.model)
        if live.changed < since - _SKEW_SECONDS or asked.sha256 in live.models:
            continue
        if fault := platform.version_fault(name, since - _SKEW_SECONDS):
            store = platform.store()
            if not store.rejection(asked.sha256):  # the program may have seen it first
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
                fix=f"`llmops up` tries again, once the cause is gone; or `llmops rollback --endpoint {name}`",
            )


def _settled(platform: Platform, endpoint: str, say: Say) -> Live:
    """An endpoint once it is no longer on its way back."""
    deadline = time.monotonic() + _WAIT_SECONDS
    while (live := platform.live(endpoint)).undone and not live.ready and time.monotonic() < deadline:
        say(f"{endpoint}: waiting for the rollback's end")
        time.sleep(_LOOK_SECONDS)
    return live


def free(stack: PulumiStack, say: Say) -> None:
    """Checks that no other update changes the stack, and looks what became of what an interrupted one had begun.

    Raises:
        KitError: there is a lock on the stack.
    """
    if find := _locks_of(stack):
        require_free(find(), stack.name)
    if pending := stack.pending():
        say(f"looking what became of {', '.join(urn.rpartition('::')[2] for urn in pending)}")
        _run(stack, "refresh", "--yes", "--skip-preview", "--suppress-outputs", "--clear-pending-creates")


def _run(stack: PulumiStack, *arguments: str) -> None:
    _refuse_planted(stack)
    stack.run(*arguments)


def _refuse_planted(stack: PulumiStack) -> None:
    """Look at the providers in the state before an engine of the user's executes them; the kit's own never does.

    Raises:
        KitError: a provider that is not the kit's.
    """
    if stack.has_own_engine:
        return
    for urn, refused in provider_guard.check(stack.export()):
        raise KitError(str(refused), where=urn, fix=refused.fix)


def _locks_of(stack: PulumiStack) -> Callable[[], list[Lock]] | None:
    """Looks for the locks on a stack; None where the backend keeps no files, and sees to updates itself."""
    if folder := stack.state_folder:
        return partial(locks_of, folder, stack.name, stack.project.name)
    return registry.state_locks(stack, stack.name)


def check_live(platform: Platform, say: Say) -> None:
    """Look at what really serves: ready, with the identity that was asked for, and answering.

    A server is ready only after it verified its model and answered the golden prompt, so ready says that much.

    Raises:
        KitError: an endpoint that is not what the stack says it is.
    """
    for name, output in platform.outputs.endpoints.items():
        if output.on:
            _check_endpoint(platform, name, output)
            say(f"{name}: {output.model.partition('@sha256')[0]} is live at {output.url}")


def _check_endpoint(platform: Platform, name: str, output: EndpointOutput) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while not (live := platform.live(name)).ready and time.monotonic() < deadline:
        time.sleep(0.2)
    fix = f"`llmops logs {name}` says why; `llmops rollback && llmops up` goes back to the version before"
    if not live.ready:
        raise KitError(
            f"endpoint {name} is not ready{': ' + live.problem if live.problem else ''}", where=output.url, fix=fix
        )
    others = {sha for sha, part in live.models.items() if part > 0} - {output.sha256}
    if others or output.sha256 not in live.models:
        found = ", ".join(sorted(live.models)) or "nothing"
        raise KitError(f"endpoint {name} serves {found}, not sha256:{output.sha256}", where=output.url, fix=fix)


def down(stack: PulumiStack, say: Say, *, discard_runs: bool = False) -> None:
    """Take everything down but the data: endpoints and the place for runs go, store and keys stay.

    Args:
        stack: the stack.
        say: told each step.
        discard_runs: complete runs that were not collected may go too.

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
    """Runs that go on would lose their place, and in a cloud cost on; complete ones would lose what they made."""
    try:
        platform = registry.open_platform(stack.outputs())
    except KitError:
        return  # never deployed
    if not discard:
        require_collected(platform, say)
    platform.halt(say)


def down_with_data(stack: PulumiStack, name: str, say: Say) -> None:
    """Take everything down, with the models, datasets and keys.

    Args:
        stack: the stack.
        name: must be the stack's name, as a person types it.
        say: told each step.

    Raises:
        KitError: the name is another one.
    """
    if name != stack.name:
        raise KitError(
            f"--data {name} is not the name of the stack, which is {stack.name}",
            where=str(stack.file.path),
            fix=f"`llmops down --stack {stack.name} --data {stack.name}` removes models, datasets and keys",
        )
    registry.preflight(stack, say, dev=True, make=False)
    outputs = stack.outputs()
    free(stack, say)
    stack.run("state", "unprotect", "--all", "--yes")
    say(f"removing every model version, dataset version and run of {stack.name}")
    # Before destroy: the program sets force_destroy on no protected bucket, so these must be empty by then.
    registry.open_platform(outputs).remove_data()
    _run(stack, "destroy", "--yes", "--skip-preview", "--suppress-outputs")
    if outputs.hosting:
        shutil.rmtree(outputs.hosting, ignore_errors=True)
        for folder in (Path(outputs.signing.private_key).parent, Path(outputs.hosting).parent):
            with suppress(OSError):
                folder.rmdir()  # fails if there are other files in it


def _existing(folder: Path) -> Path:
    return next(f for f in (folder, *folder.parents) if f.exists())
