"""Types of resources of the twin; services add theirs with `twin.kind(Kind(…))`."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from twins.azure.arm.calls import ArmCall, Document
from twins.azure.arm.ids import Id

STATUS, RESULT = ("Azure-AsyncOperation",), ("Location",)
"""Headers of an operation: where its status is asked for, and where what the call would have answered at once."""


@cache
def _versions() -> dict[str, list[str]]:
    """Returns the API versions that clients send, the kit's own first."""
    return json.loads(Path(__file__).with_name("versions.json").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class SoftDelete:
    """The soft deletion of a type: for how long a deleted resource blocks its name.

    Args:
        days: until nothing is left.
        purge: the query parameter of a DELETE that leaves nothing ("forceToPurge").
        recover: tells by the body of a PUT that the old one is wanted back.
        restores: the old document is then what `put` finds there; else `put` brings it back by itself.
        globally: the name is blocked everywhere, not in its resource group alone.
        code, message: of the refusal (409) of a name that is blocked; {name} and {id} stand for the deleted one's.
    """

    days: int
    purge: str = ""
    recover: Callable[[Document], bool] | None = None
    restores: bool = False
    globally: bool = False
    message: str = "A resource named '{name}' exists in a deleted state."
    code: str = "ConflictError"


@dataclass(frozen=True)
class ResourceKind:
    """A type of resource. The first parameter of most functions is the twin.

    Args:
        type: "Microsoft.MachineLearningServices/workspaces/onlineEndpoints"; an extension type lies on any resource.
        versions: api-versions that it takes; without any those of versions.json (of the longest part of its type).
        put: makes the document to keep of the call's body and of what is there (None: nothing). What it returns gets
            id, name, type and properties.provisioningState. None: keeps the body. Raises ArmError to refuse.
        begun: called when a PUT was kept, before its operation ends.
        done: called when an operation of PUT is about to end well; an ArmError from it lets it fail.
        deleting: may refuse a DELETE with ArmError.
        gone: called for each document that is dropped, by its own DELETE or with what it lay in.
        listed: which of a collection's documents a call's own parameters choose, in which order.
        show: what GET answers; members that begin with "_" are left out anyway.
        patch: PATCH merges the body into what is there, and goes on as a PUT. False: 405.
        name: a regular expression that all of a name matches.
        seconds: what creating takes on Azure; 0: it is answered at once.
        delete_seconds: what deleting takes; None: as long as creating.
        delete_shows: a DELETE that is done at once answers what was there.
        change_seconds: what changing takes, where the answer waits for the end; None: an operation, as creating is.
        busy: code and message of the refusal (409) of a change while another takes its time.
        accepted: methods whose operations are answered with 202 and no body.
        polled: headers that say where an operation is asked for, by method where it has not both; none: a GET's
            provisioningState tells.
        creating: provisioningState until a new one is there.
        open_ended: the operation of a PUT ends when somebody says so: `operations.succeed(twin, id)` or `fail`.
        soft_delete: what a DELETE leaves.
        codes: HTTP status of a PUT that creates, and of one that changes.
        location: the body has one, which stays as it is.
        scopes: where it may lie: "group", "subscription", "resource" (an extension).
        provisioning: it has properties.provisioningState.
        singletons: names that exist without having been made ("default").
        given: what is there though nobody made it, as a built-in role is; None: nothing.
        outlives: it stays when the resource that it lies on goes (an extension).
        implicit: what lies in it may be put before it is there, and makes it.
    """

    type: str
    versions: tuple[str, ...] = ()
    put: Callable[[Any, ArmCall, Document | None], Document] | None = None
    begun: Callable[[Any, Document], None] | None = None
    done: Callable[[Any, Document], None] | None = None
    deleting: Callable[[Any, ArmCall, Document], None] | None = None
    gone: Callable[[Any, Document], None] | None = None
    listed: Callable[[ArmCall, list[Document]], list[Document]] | None = None
    show: Callable[[Any, Document], Document] | None = None
    patch: bool = True
    name: str = r"[^/<>%&\\?#]{1,260}"
    seconds: float = 0.0
    delete_seconds: float | None = None
    delete_shows: bool = False
    change_seconds: float | None = None
    busy: tuple[str, str] = ("AnotherOperationInProgress", "")
    accepted: tuple[str, ...] = ()
    polled: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    creating: str = "Creating"
    open_ended: bool = False
    soft_delete: SoftDelete | None = None
    codes: tuple[int, int] = (201, 200)
    location: bool = False
    scopes: tuple[str, ...] = ("group",)
    provisioning: bool = True
    singletons: tuple[str, ...] = ()
    given: Callable[[Any, Id], Document | None] | None = None
    outlives: bool = False
    implicit: bool = False

    def __post_init__(self) -> None:
        if not self.versions:
            known, parts = _versions(), self.type.split("/")
            name = next(name for n in range(len(parts), 0, -1) if (name := "/".join(parts[:n])) in known)
            object.__setattr__(self, "versions", tuple(known[name]))
