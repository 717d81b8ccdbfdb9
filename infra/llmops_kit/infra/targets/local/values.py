"""Plain values that a stack on this machine is declared from; llmops_kit.infra.targets.local.resolve makes them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from llmops_kit.local_runtime.spec import VariantRollout
from llmops_kit.settings.resolved_local import ResolvedLocalEndpoint


@dataclass(frozen=True)
class LocalImage:
    """An image of the kit, named by its files."""

    name: str
    runtime: Literal["process", "docker"]
    process_reference: str
    """Of the image as a process: process:NAME@sha256:SOURCE."""

    @property
    def source(self) -> str:
        """The hash of its files."""
        return self.process_reference.rpartition(":")[2]

    @property
    def reference(self) -> str | None:
        """Known before a process image is built, so that a preview shows a change; None: Docker will give it one."""
        return self.process_reference if self.runtime == "process" else None


@dataclass(frozen=True)
class LocalEndpointValues:
    """An endpoint: its resolved settings, in the local runtime's terms where that has its own."""

    resolved: ResolvedLocalEndpoint
    rollout: VariantRollout
    """Only the fields that the strategy reads are set."""
    image: LocalImage
    key_files: Mapping[str, str]
    """Variable of the server -> absolute path of the file that `limits` names."""
