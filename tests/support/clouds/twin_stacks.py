"""Stacks on a twin of a cloud."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

from llmops_kit.cli.interfaces.platform import Platform
from llmops_kit.cli.platforms.registry import open_platform
from llmops_kit.core.documents.outputs import StackOutputs
from llmops_kit.core.layout import MANIFEST
from tests.support import stacks
from tests.support.tiny_models.models import copy_model, tiny_model
from twins.tests.support.processes import Twin

SERVING = f"process:serving@sha256:{'5' * 64}"
TRAINING = f"process:training@sha256:{'7' * 64}"


@dataclass(kw_only=True)
class TwinStack(stacks.Stack, Generic[Twin]):
    """A stack on a twin."""

    twin: Twin

    def add_version(self, alias: str, licence: str = "", model: Path | None = None, **members: Any) -> str:
        """Put a model into the stack's store, signed with its key, and return what a promotion writes.

        Args:
            alias: name@number.
            licence: another one makes another version.
            model: an imported version; None: the tiny model.
            members: of the version's manifest.
        """
        folder = copy_model(model or tiny_model(), self.folder / "incoming" / alias)
        members |= {"name": alias.partition("@")[0]} | ({"licence": licence} if licence else {})
        (folder / MANIFEST).write_text(json.dumps(json.loads((folder / MANIFEST).read_text()) | members))
        with self.twin.entered():
            platform = self.platform()
            ref = platform.store().put_model(folder, platform.sign)
        return f"{ref.alias}@sha256:{ref.sha256}"

    def platform(self) -> Platform:
        """The platform that the stack's outputs name, for use while the twin is entered."""
        return open_platform(StackOutputs.parse(json.dumps(self.outputs()), where="outputs"))


def make_stack(
    twin: Twin, folder: Path, name: str, settings: Mapping[str, Any], *, deploy: bool = True
) -> TwinStack[Twin]:
    """Makes a stack on a twin, deployed without endpoints."""
    given = {"images": {"serving": SERVING, "training": TRAINING}, **settings}
    stack = TwinStack(folder, name, twin.environ, settings=given, twin=twin)
    stack.make()
    if deploy:
        stack.up()
    return stack
