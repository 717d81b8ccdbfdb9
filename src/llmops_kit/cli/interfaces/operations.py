"""The capabilities of each target, for the command line: one record per target, in cli/platforms/<target>/."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from llmops_kit.clouds.targets import cloud_names, load
from llmops_kit.core.errors import UnsupportedError, require_packages

if TYPE_CHECKING:
    from llmops_kit.cli.interfaces.image_registry import ImageRegistry
    from llmops_kit.cli.interfaces.plan_rules import PlanRules
    from llmops_kit.cli.interfaces.platform import Platform, Say
    from llmops_kit.cli.interfaces.quotas import Needed, QuotaNeed
    from llmops_kit.cli.interfaces.recording import Recording
    from llmops_kit.cli.interfaces.sweeper import Sweeper
    from llmops_kit.cli.stacks.locks import Lock
    from llmops_kit.cli.stacks.stack import PulumiStack
    from llmops_kit.core.documents.outputs import StackOutputs
    from llmops_kit.settings.stack_settings import Settings

T = TypeVar("T")


class Preflight(Protocol):
    """Checks early what would fail late, and creates the stack in its backend."""

    def __call__(self, stack: PulumiStack, say: Say, *, dev: bool, make: bool) -> None:
        """Runs the checks.

        Args:
            stack: the stack.
            say: called with the stack's location, and before slow steps.
            dev: accept a state that is only on this machine.
            make: prepare an update; a new stack is created.

        Raises:
            KitError: something is missing, or the update would go to the wrong place.
        """
        ...


class CloudFacts(Protocol):
    """Interface of a cloud for `llmops doctor`; its module imports no SDK."""

    PACKAGES: tuple[str, ...]
    TWIN_PACKAGE: str
    TWIN_WORDS: str
    NODE_IS_FOR: str
    PLUGIN: str
    VARIABLES: tuple[str, ...]

    def caller(self, settings: Settings | None) -> str:
        """Returns the identity of this shell in words. Raises KitError if it has none."""
        ...


@dataclass(frozen=True)
class Lazy(Generic[T]):
    """A `module:attribute`, or a module, that is imported on use."""

    place: str

    def load(self) -> T:
        """Imports the module, or the object of a module, that `place` names."""
        return load(self.place)


@dataclass(frozen=True, kw_only=True)
class Operations:
    """One target. A capability that is None is absent: `use` refuses the verb that needs it."""

    target: str
    platform: Lazy[Callable[[StackOutputs], Platform]]
    preflight: Lazy[Preflight]
    extra: tuple[str, ...] = ()
    """The kit's extra that its code needs, and packages that it brings."""

    always_refresh: bool = False
    """Refresh before each update: after a reboot, processes that the state lists no longer run."""
    data_has_resources: bool = False
    """Removing a stack's data also removes resources of its state; so destroying it then begins with a refresh."""
    keeps_runs: bool = False
    """Runs outlive `down`."""

    clients: Lazy[Callable[[PulumiStack], Any]] | None = None
    region: Lazy[Callable[[PulumiStack], str]] | None = None
    twin_address: Callable[[Mapping[str, str]], str] | None = None
    """The twin's address in an environment; empty: its clients talk to the cloud."""
    plan_rules: Lazy[PlanRules] | None = None
    quotas: Lazy[Callable[[PulumiStack, Needed], list[QuotaNeed]]] | None = None
    sweeper: Lazy[Callable[[Any], Sweeper]] | None = None
    """Made from `clients`."""
    images: Lazy[Callable[[StackOutputs], ImageRegistry]] | None = None
    use_policy: Lazy[Callable[[StackOutputs], dict[str, Any]]] | None = None
    recording: Lazy[Callable[[PulumiStack], Recording]] | None = None
    doctor: Lazy[CloudFacts] | None = None
    state_scheme: str = ""
    """Of the backend's URL, where that is the cloud's storage."""
    state_locks: Lazy[Callable[[PulumiStack, str], Callable[[], list[Lock]]]] | None = None

    def use(self, capability: Lazy[T] | None, what: str, where: str) -> T:
        """Imports a capability.

        Raises:
            UnsupportedError: the target has none.
            KitError: a package is missing.
        """
        if capability is None:
            raise self.absent(what, where)
        if self.extra:
            require_packages(*self.extra)
        return capability.load()

    def absent(self, what: str, where: str) -> UnsupportedError:
        fix = f"choose a stack on a cloud ({', '.join(cloud_names())}) with --stack"
        return UnsupportedError(f"target {self.target} has no {what}", where=where, fix=fix)
