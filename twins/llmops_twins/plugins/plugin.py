"""The interface between a cloud's stand-in for a provider plugin and the protocol in `server`."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar


class ProviderError(Exception):
    """An error that the plugin reports to the engine, with the real plugin's message."""


class PartlyMadeError(ProviderError):
    """Error for a create or update that failed midway: the resource exists, and its state is kept.

    Args:
        id: the resource's id.
        outputs: the state reached.
    """

    def __init__(self, message: str, id: str, outputs: dict[str, Any]) -> None:  # noqa: A002  (the protocol's word)
        super().__init__(message)
        self.id = id
        self.outputs = outputs


@dataclass(frozen=True)
class Failure:
    """An input that Check refuses, and the reason."""

    property: str
    reason: str


@dataclass(frozen=True)
class Change:
    """One path that differs. `kind` is add, delete or update."""

    kind: str
    replaces: bool = False


@dataclass
class Differences:
    """Result of Diff: property path (`a.b[0].c`) -> change."""

    changes: dict[str, Change] = field(default_factory=dict)
    delete_before_replace: bool = False


@dataclass(frozen=True)
class Naming:
    """The engine's settings for generated names. `mode` is "", propose, enforce or disable."""

    seed: bytes = b""
    proposed: str = ""
    mode: str = ""


@dataclass
class Session:
    """A configured connection. A cloud's provider subclasses it."""

    stopping: threading.Event = field(default_factory=threading.Event)
    """Set when the engine asks to cancel; waiting operations then stop."""


S = TypeVar("S", bound=Session)


@dataclass(frozen=True)
class PluginRequest(Generic[S]):
    """The arguments of every operation on a resource."""

    session: S
    urn: str
    type: str
    name: str
    """The resource's logical name."""
    active: Callable[[], bool] = lambda: True
    """Returns whether the caller is still connected."""
    timeout: float = 0.0
    """Seconds from the program's customTimeouts; 0 for the type's own."""


class Provider(ABC, Generic[S]):
    """A cloud's stand-in. Values are plain; in a preview, `UNKNOWN` may be anywhere."""

    name: str
    version: str
    records_wanted_inputs = False
    """Whether an update that failed midway records the wanted inputs instead of the old ones."""

    @abstractmethod
    def check_config(self, config: dict[str, Any]) -> list[Failure]:
        """Returns the violations in a provider's own inputs."""

    @abstractmethod
    def configure(self, config: dict[str, Any], peer: str) -> S:
        """Opens a session with a provider's inputs. `peer` is the caller's address in gRPC's form:
        `ipv4:127.0.0.1:4711`.

        Raises:
            ProviderError: the inputs can't be used.
        """

    @abstractmethod
    def check(
        self, request: PluginRequest[S], olds: dict[str, Any], news: dict[str, Any], naming: Naming
    ) -> tuple[dict[str, Any], list[Failure]]:
        """Returns the completed inputs, and the violations in them."""

    @abstractmethod
    def diff(
        self, request: PluginRequest[S], old_inputs: dict[str, Any], state: dict[str, Any], news: dict[str, Any]
    ) -> Differences:
        """Returns the differences between recorded and wanted inputs."""

    @abstractmethod
    def preview(
        self, request: PluginRequest[S], inputs: dict[str, Any], old_inputs: dict[str, Any], state: dict[str, Any]
    ) -> dict[str, Any]:
        """Returns the outputs of a create (empty state) or an update as far as they are known in advance."""

    @abstractmethod
    def create(self, request: PluginRequest[S], inputs: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Creates the resource, and returns its id and state."""

    @abstractmethod
    def read(
        self, request: PluginRequest[S], identity: str, state: dict[str, Any], inputs: dict[str, Any]
    ) -> tuple[str, dict[str, Any], dict[str, Any]] | None:
        """Returns the resource's id, state and inputs in the cloud; None if it does not exist. Without state it is an
        import.
        """

    @abstractmethod
    def update(
        self,
        request: PluginRequest[S],
        identity: str,
        state: dict[str, Any],
        old_inputs: dict[str, Any],
        news: dict[str, Any],
    ) -> dict[str, Any]:
        """Updates the resource, and returns its new state."""

    @abstractmethod
    def delete(self, request: PluginRequest[S], identity: str, state: dict[str, Any]) -> None:
        """Deletes the resource, if it exists."""

    @abstractmethod
    def invoke(self, session: S, token: str, arguments: dict[str, Any]) -> tuple[dict[str, Any], list[Failure]]:
        """Returns a function's result."""

    def follows(self, secret: set[str]) -> set[str]:
        """Returns the outputs that are secret because these inputs are."""
        return secret
