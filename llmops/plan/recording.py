"""A cloud's part of recording a deployer's permissions."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from contract.documents.outputs import StackOutputs


class Recording(Protocol):
    """Its twin, and what stands there for what a stack finds in its account."""

    some_types: tuple[str, str]
    """Two instance types of endpoints: one of them is a change."""
    bake_seconds: int | None
    """Of rollouts, which take as long on the twin as they do on the cloud; None: they take no time there."""

    def require(self) -> None:
        """Checks that the twin's packages are there. Raises KitError."""
        ...

    def up(self, home: Path) -> Mapping[str, str | None]:
        """Starts a twin that runs no containers and waits for nothing; returns the environment of its owner."""
        ...

    def down(self, home: Path) -> None: ...

    def deployer(self) -> tuple[dict[str, str], str]:
        """Makes somebody who may do everything, so that every call shows what it takes.

        Returns:
            The environment (this process' is the owner's), and the principal as the twin's records name it.
        """
        ...

    def given(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Makes what the stack's settings name; returns the settings as they must be on the twin."""
        ...

    def backend(self, project: str, backend: str) -> dict[str, str | None]:
        """Makes a place for states as the stack has one at `backend`; variables with which it is taken. None: unset."""
        ...

    def fill(self, outputs: StackOutputs) -> None:
        """Puts something of each kind into the stack's place, so that removing it takes what it will take."""
        ...

    def start_job(self, outputs: StackOutputs) -> None:
        """Starts a job that goes on until it is stopped."""
        ...

    def recorded(self) -> list[dict[str, Any]]:
        """What the twin was asked to allow: principal, action, resource, allowed."""
        ...

    def document(self, records: list[dict[str, Any]]) -> dict[str, Any]:
        """Returns the policy or role of what one principal was recorded doing."""
        ...
