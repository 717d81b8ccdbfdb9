"""Twins of either cloud that run in processes of their own."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, TypeVar
from unittest import mock


@dataclass
class TwinProcess:
    """A running twin, and what its clients are started with."""

    control: ClassVar[ModuleType]
    """twins/<cloud>/control.py."""

    home: Path
    environ: dict[str, str]
    info: Any

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Replaces this process's environment by that of the twin's clients meanwhile."""
        with mock.patch.dict(os.environ, self.environ, clear=True):
            yield

    def fault(self, kind: str, **members: Any) -> None:
        """Injects a fault (twins/<cloud>/faults.py) from now on."""
        self.control.add_fault(self.home, kind, members)

    def clear_faults(self) -> None:
        """Ends all faults."""
        self.control.clear_faults(self.home)


Twin = TypeVar("Twin", bound=TwinProcess)


@contextmanager
def running(kind: type[Twin], folder: Path, name: str, containers: str, **options: Any) -> Iterator[Twin]:
    """Runs a twin with its state in `folder`/`name`, and ends it afterwards."""
    home = folder / name
    info = kind.control.up(home, say=lambda _: None, containers=containers, **options)
    try:
        yield kind(home, client_environ(kind.control.environment(home)), info)
    finally:
        kind.control.down(home)


def client_environ(changed: Mapping[str, str | None]) -> dict[str, str]:
    """Returns this process's environment as `twins CLOUD env` changes it; None: unset."""
    environ = {name: value for name, value in os.environ.items() if name not in changed}
    return environ | {name: value for name, value in changed.items() if value is not None}
