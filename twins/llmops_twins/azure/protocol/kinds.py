"""Types of resources of the twin; services add theirs with `twin.kind(ResourceKind(…))`."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from llmops_twins.azure.protocol.calls import ArmCall, Document
from llmops_twins.azure.protocol.ids import Id

STATUS, RESULT = ("Azure-AsyncOperation",), ("Location",)
"""Headers of an operation: the URL of its status, and the URL of the call's result."""


@cache
def _versions() -> dict[str, list[str]]:
    """Returns the API versions that clients send, the kit's own first."""
    return json.loads(Path(__file__).with_name("versions.json").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class SoftDelete:
    """The soft deletion of a type: how long a deleted resource blocks its name.

    Args:
        days: until the resource is purged.
        purge: the query parameter of a DELETE that purges at once ("forceToPurge").
        recover: returns whether the body of a PUT asks to recover the deleted resource.
        restores: whether `put` is called with the recovered document; otherwise `put` recovers it itself.
        globally: whether the name is blocked everywhere, not only in its resource group.
        code, message: of the refusal (409) of a blocked name; {name} and {id} stand for the deleted resource's.
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
        type: "Microsoft.MachineLearningServices/workspaces/onlineEndpoints"; an extension type applies to any resource.
        versions: accepted API versions; by default those in versions.json for the longest known prefix of the type.
        put: returns the document to store, from the call and the existing document (None for a new resource). id, name,
            type and properties.provisioningState are added. None stores the body. Raises ArmError to refuse.
        begun: called after a PUT was stored, before its operation ends.
        done: called when the operation of a PUT is about to succeed; an ArmError from it makes the operation fail.
        deleting: may refuse a DELETE with ArmError.
        gone: called for each deleted document, whether by its own DELETE or with its parent.
        listed: filters and sorts a collection by the call's own parameters.
        show: returns the document that GET answers; members that begin with "_" are always left out.
        patch: whether PATCH is allowed: it merges the body into the existing document, then works like a PUT. False:
            405.
        name: a regular expression that must match the whole name.
        seconds: duration of a creation on Azure; 0: it is answered at once.
        delete_seconds: duration of a deletion; None: as long as a creation.
        delete_shows: whether an immediate DELETE answers with the deleted resource.
        change_seconds: duration of a change whose response waits for its end; None: a change is an operation, like a
            creation.
        busy: code and message of the refusal (409) of a change during another one.
        accepted: methods whose operations are answered with 202 and no body.
        polled: polling headers by method, for methods that don't have both; none: clients poll provisioningState with
            GET.
        creating: provisioningState of a new resource until its operation ends.
        open_ended: the operation of a PUT ends only by `operations.succeed(twin, id)` or `fail`.
        soft_delete: rules of soft deletion, if the type has it.
        codes: HTTP status of a PUT that creates, and of one that changes.
        location: whether the body has a location, which can't be changed.
        scopes: allowed scopes: "group", "subscription", "resource" (an extension).
        provisioning: whether it has properties.provisioningState.
        singletons: names that exist without having been created ("default").
        given: returns a resource that exists without having been created, such as a built-in role; None if there is
            none.
        outlives: whether an extension stays when its resource is deleted.
        implicit: whether a PUT of a nested resource creates a missing parent of this type.
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
