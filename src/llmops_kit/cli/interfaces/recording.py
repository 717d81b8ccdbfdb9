"""A cloud's part in recording a deployer's permissions."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from llmops_kit.core.documents.outputs import StackOutputs


class Recording(Protocol):
    """A cloud's twin, and the stand-ins for what a stack expects in its account."""

    some_types: tuple[str, str]
    """Two instance types of endpoints, of which one serves as a change."""
    bake_seconds: int | None
    """Bake time of rollouts, which is not scaled on the twin; None if they take no time there."""

    def require(self) -> None:
        """Checks that the twin's packages are installed.

        Raises:
            KitError: one is missing.
        """
        ...

    def up(self, home: Path) -> Mapping[str, str | None]:
        """Starts a twin that runs no containers and waits for nothing; returns its owner's environment."""
        ...

    def down(self, home: Path) -> None: ...

    def deployer(self) -> tuple[dict[str, str], str]:
        """Creates a principal that may do everything, so that every call shows the permissions that it needs.

        Returns:
            Its environment (this process's is the owner's), and its name in the twin's records.
        """
        ...

    def given(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Creates the resources named in the stack's settings; returns the settings adjusted to the twin."""
        ...

    def backend(self, project: str, backend: str) -> dict[str, str | None]:
        """Creates a state backend like the stack's at `backend`; returns the variables that select it. None means to
        unset one.
        """
        ...

    def fill(self, outputs: StackOutputs) -> None:
        """Puts something of each kind into the stack's storage, so that its removal needs all permissions that it will
        need.
        """
        ...

    def start_job(self, outputs: StackOutputs) -> None:
        """Starts a job that runs until it is stopped."""
        ...

    def recorded(self) -> list[dict[str, Any]]:
        """Returns the recorded permission checks: principal, action, resource, allowed."""
        ...

    def document(self, records: list[dict[str, Any]]) -> dict[str, Any]:
        """Returns the policy or role for the recorded actions of one principal, while the twin runs."""
        ...
