"""Specification and state of an endpoint."""

import json
from typing import ClassVar, Literal

from pydantic import Field

from llmops_kit.core.document import Document, Part
from llmops_kit.core.hashes import sha256_bytes
from llmops_kit.core.names import Name
from llmops_kit.core.rollout import WatchedRollout

ROUTER_BODY_BYTES = 32 << 20
"""Maximum bytes of a request's body that the router of an endpoint accepts."""


class VariantRollout(WatchedRollout):
    """How an endpoint changes to a new variant."""

    strategy: Literal["all_at_once", "canary", "manual"] = Field(  # pyright: ignore[reportIncompatibleVariableOverride] (frozen)
        default="all_at_once",
        description="all_at_once: switch when ready. canary: a watched share first, rolled back if it fails. "
        "manual: start the new variant without traffic; `Host.set_traffic` moves it.",
    )
    most_errors: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="Maximum by which the canary's share of failed requests may exceed the old variant's.",
    )
    drain_seconds: float = Field(default=30.0, ge=0, description="Time that the old variant has to finish requests.")


class EndpointSpec(Part):
    """The wanted state of an endpoint. `model_dump_json` and `model_validate_json` make the round trip."""

    name: Name
    image: str = Field(description="process:NAME@sha256:… or docker:NAME@sha256:….")
    command: list[str] = Field(
        default=["python", "-m", "llmops_kit.serving", "serve"],
        description="`python` is the image's own; the program must answer GET /ping with 200 once it is ready. "
        "Empty: the image's default.",
    )
    arguments: list[str] = Field(default=[], description="After the command.")
    folders: dict[str, str] = Field(
        default={}, description="Path in the container -> folder or file on this machine; read-only."
    )
    shared: dict[str, str] = Field(
        default={},
        description="Path in the container -> folder on this machine that its servers may write and share; created if "
        "missing.",
    )
    environ: dict[str, str] = Field(
        default={},
        description="The container's variables. A value that is a path of `folders` or `shared`, or below one, follows "
        "it.",
    )
    key_sha256: str = Field(
        default="",
        description="Of the API key that the server asks for: the router reads no body without it. Empty: it asks for "
        "none, or a platform in front authenticates callers.",
    )
    keys_file: str = Field(
        default="",
        description="File on this machine of further keys that the server takes (llmops_kit.core.key_file).",
    )
    instances: int = Field(default=1, ge=1, le=64)
    container_port: int = Field(default=8080, ge=1, le=65535, description="Where the image listens inside Docker.")
    port: int = Field(default=0, ge=0, le=65535, description="Where the endpoint listens; 0: chosen once and kept.")
    bind: str = Field(default="127.0.0.1", description="Address where it listens.")
    memory_bytes: int = Field(
        default=0,
        ge=0,
        description="Memory (PSS) of an instance's processes above which it is replaced; 0: not watched. Containers "
        "have Docker's limit instead.",
    )
    rollout: VariantRollout = VariantRollout()
    ready_seconds: float = Field(default=300.0, gt=0, description="Time that an instance has to become ready.")

    @property
    def variant(self) -> str:
        """Identity of its image, command and settings; instances of equal variants are interchangeable."""
        parts = [self.image, [*self.command, *self.arguments], self.folders, self.environ, self.key_sha256]
        parts += [self.shared] if self.shared else []
        return "v" + sha256_bytes(json.dumps(parts, sort_keys=True).encode())[:11]


class InstanceState(Part):
    """One worker. `pid` is 0 while it does not run; `restarts` counts the starts after the first."""

    port: int
    pid: int
    ready: bool
    restarts: int


class VariantState(Part):
    """A variant, its share of the requests in per cent, and its workers."""

    id: str
    weight: int
    instances: list[InstanceState]


class MemoryState(Part):
    """Memory of an endpoint's instances. `limit`: bytes of each; 0: it has none. `unwatched`: why nobody looks."""

    limit: int = 0
    unwatched: str = ""
    replaced: int = 0
    killed: int = 0
    last: str = Field(default="", description="Last replacement or kill, with its time and figures.")


class EndpointState(Part):
    """State of an endpoint. `ready`: some instance with traffic answers. `spec`: the last one that was fully
    applied.
    """

    name: str
    on: bool
    url: str
    port: int
    ready: bool
    router_pid: int
    spec: EndpointSpec | None
    variants: list[VariantState]
    memory: MemoryState = MemoryState()


class MemoryRecord(Document):
    """memory.json: how often instances of an endpoint passed their limit of memory, since it was created."""

    SCHEMA: ClassVar[str] = "server-memory/1"

    replaced: int = Field(default=0, ge=0, description="Instances that another one replaced.")
    killed: int = Field(default=0, ge=0, description="Instances that were killed.")
    last: str = Field(default="", description="Last replacement or kill, with its time and figures.")


class VariantRecord(Part):
    """Record from which a variant's workers are started and recognised."""

    spec: EndpointSpec
    ports: list[int]


class EndpointRecord(Document):
    """endpoint.json: an endpoint's settings and workers, written before each step that changes them."""

    SCHEMA: ClassVar[str] = "endpoint/1"

    name: str
    on: bool = False
    port: int = 0
    bind: str = "127.0.0.1"
    spec: EndpointSpec | None = None
    variants: dict[str, VariantRecord] = Field(default={}, description="Newest last.")
