"""A twin of a cloud with its state in a folder and stacks on it."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Generic, TypeVar
from unittest import mock

from contract.documents.outputs import StackOutputs
from contract.layout import MANIFEST
from llmops.platforms.registry import open_platform
from tests.support import stacks
from tests.support.clients import client_environ
from tests.support.models import copy_model, tiny_model

SERVING = f"process:serving@sha256:{'5' * 64}"
TRAINING = f"process:training@sha256:{'7' * 64}"


@dataclass
class RunningTwin:
    """A running twin."""

    control: ClassVar[ModuleType]
    """twins/<cloud>/control.py."""

    home: Path
    environ: dict[str, str]
    """What a client of the twin is started with; it holds the engine and the twin's own state backend too."""
    info: Any

    @contextmanager
    def entered(self) -> Iterator[None]:
        """This process's environment is the one of the twin's clients meanwhile."""
        with mock.patch.dict(os.environ, self.environ, clear=True):
            yield

    def fault(self, kind: str, **members: Any) -> None:
        """Let something go wrong from now on (twins/<cloud>/faults.py)."""
        self.control.add_fault(self.home, kind, members)

    def clear_faults(self) -> None:
        """Let nothing more go wrong."""
        self.control.clear_faults(self.home)

    def stack_settings(self) -> dict[str, Any]:
        """Settings of a stack on the twin, unless told otherwise."""
        return {"images": {"serving": SERVING, "training": TRAINING}}


Twin = TypeVar("Twin", bound=RunningTwin)


@contextmanager
def running(kind: type[Twin], folder: Path, name: str, containers: str, **options: Any) -> Iterator[Twin]:
    """A twin with its state in `folder`/`name`; ended afterwards."""
    home = folder / name
    info = kind.control.up(home, say=lambda _: None, containers=containers, **options)
    try:
        yield kind(home, client_environ(kind.control.environment(home)), info)
    finally:
        kind.control.down(home)


@dataclass(kw_only=True)
class TwinStack(stacks.Stack, Generic[Twin]):
    """A stack on a twin."""

    twin: Twin

    def add_version(self, alias: str, licence: str = "", **members: Any) -> str:
        """Put the tiny model into the stack's store, signed with its key, and return what a promotion writes.

        Args:
            alias: name@number.
            licence: another one makes another version.
            members: of the version's manifest.
        """
        folder = copy_model(tiny_model(), self.folder / "incoming" / alias)
        members |= {"name": alias.partition("@")[0]} | ({"licence": licence} if licence else {})
        (folder / MANIFEST).write_text(json.dumps(json.loads((folder / MANIFEST).read_text()) | members))
        with self.twin.entered():
            platform = open_platform(StackOutputs.parse(json.dumps(self.outputs()), where="outputs"))
            ref = platform.store().put_model(folder, platform.sign)
        return f"{ref.alias}@sha256:{ref.sha256}"


def make_stack(twin: Twin, folder: Path, name: str, *, deploy: bool = True, **settings: Any) -> TwinStack[Twin]:
    """A stack on a twin, deployed without endpoints."""
    stack = TwinStack(folder, name, twin.environ, settings=twin.stack_settings() | settings, twin=twin)
    stack.make()
    if deploy:
        stack.up()
    return stack
