"""Live state and traffic of online endpoints, as the dynamic resources around an endpoint need them.

https://learn.microsoft.com/azure/machine-learning/concept-endpoints-online
"""

import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from llmops_kit.clouds.azure.endpoint_documents import owner_of, state_of, traffic_of, with_traffic
from llmops_kit.clouds.azure.location import AzureLocation
from llmops_kit.clouds.azure.session import arm_of, open_session
from llmops_kit.core.errors import KitError
from llmops_kit.core.rollout import Owner
from llmops_kit.infra.targets.dynamic import Properties, say

BY_UP = "up"
"""Owner of the weights while an update rolls out."""
BROKEN = ("Failed", "Canceled")
"""States of a resource that Azure could not create or change, until the next PUT."""
_BUSY = ("Creating", "Updating", "Deleting", "Provisioning", "Scaling")
_WAIT_SECONDS = 75 * 60
_POLL_SECONDS = (0.2, 5.0)
"""Seconds between two requests: first and most; doubled each time."""

Document = dict[str, Any]


def find_endpoint(props: Properties) -> Document | None:
    """Return the live endpoint of a dynamic resource; None: it is missing."""
    return arm_of(props).find(props["endpoint"])


def find_deployment(props: Properties, name: str) -> Document | None:
    """Return one of its live deployments; None: it is missing."""
    return arm_of(props).find(deployment_id(props["endpoint"], name))


def deployment_id(endpoint: str, name: str) -> str:
    """Return the resource id of a deployment of an endpoint, by the endpoint's id."""
    return f"{endpoint}/deployments/{name}"


def has_traffic(live: Document | None, deployment: str) -> bool:
    """Return whether a deployment gets requests or mirrored ones; Azure refuses to delete it then."""
    return any(deployment in traffic_of(live, key) for key in ("traffic", "mirrorTraffic"))


def put_traffic(
    props: Properties, traffic: Mapping[str, int], owner: Owner | None = None, mirror: Mapping[str, int] | None = None
) -> None:
    """Set an endpoint's weights by a PUT of the whole resource, since no other call sets them.

    Args:
        props: properties of the dynamic resource.
        traffic: percent by deployment; 0 in all, or 100.
        owner: new owner of the weights.
        mirror: percent of requests that are mirrored to one deployment without traffic.
    """
    live = require_endpoint(props, at_rest=True)
    arm_of(props).put(props["endpoint"], with_traffic(live, traffic, mirror, owner))
    done = require_endpoint(props, at_rest=True)
    if traffic_of(done) != {name: percent for name, percent in traffic.items() if percent}:
        raise KitError(
            f"has traffic {traffic_of(done)} after {dict(traffic)} was set ({state_of(done)})",
            where=name_of(props),
            fix="its activity log on Azure names who else sets it; then repeat `pulumi up`",
        )


def require_endpoint(props: Properties, *, at_rest: bool = False) -> Document:
    """Return the endpoint, once no operation on it is under way if `at_rest`.

    Raises:
        KitError: there is none, or its operation takes too long.
    """
    if at_rest:
        live, _ = _at_rest(props, "")
    else:
        live = find_endpoint(props)
    if live is None:
        raise KitError(
            "is in the stack's state, but not on Azure",
            where=name_of(props),
            fix="`pulumi refresh` removes it from the state, then `pulumi up` creates it again",
        )
    return live


def require_settled(props: Properties, deployment: str) -> tuple[Document, Document | None]:
    """Return the endpoint and one of its deployments (None: there is none), once no operation on either is under way.

    Autoscaling updates a deployment on its own at any time.

    Raises:
        KitError: there is no endpoint, or an operation takes too long.
    """
    live, found = _at_rest(props, deployment)
    return live or require_endpoint(props), found


def remove_broken(location: AzureLocation, endpoint: str, name: str) -> bool:
    """Delete a failed deployment, unless it gets requests: Azure would reject that.

    Args:
        location: of the stack.
        endpoint: resource id.
        name: of the deployment.

    Returns:
        Whether it was deleted.
    """
    arm, id_ = open_session(location).arm, deployment_id(endpoint, name)
    if state_of(arm.find(id_)) not in BROKEN or has_traffic(arm.find(endpoint), name):
        return False
    arm.delete(id_)
    return True


def wait_for_owner(props: Properties) -> None:
    """Wait while another client's rollout owns the weights; take over what an update of this stack left.

    The engine runs one update of a stack at a time, so an owner that is an update of this stack was killed.

    Raises:
        KitError: the rollout takes too long.
    """
    deadline, pause = time.monotonic() + _WAIT_SECONDS, _pauses()
    told = False
    while (owner := owner_of(find_endpoint(props))) and owner.by != BY_UP and owner.until > datetime.now(UTC):
        if not told:
            told = True
            say(f"{name_of(props)}: waiting until {owner.by} has rolled out {owner.deployment}")
        if time.monotonic() > deadline:
            raise KitError(
                f"{owner.by} is rolling out {owner.deployment} until {owner.until:%Y-%m-%d %H:%M} UTC",
                where=name_of(props),
                fix="wait for its end or stop it, then repeat `pulumi up`",
            )
        next(pause)


def _at_rest(props: Properties, deployment: str) -> tuple[Document | None, Document | None]:
    """Wait for operations on an endpoint and, if named, one of its deployments; return both as they are then."""
    deadline, pause, told = time.monotonic() + _WAIT_SECONDS, _pauses(), False
    while True:
        live = find_endpoint(props)
        found = find_deployment(props, deployment) if live and deployment else None
        if not (busy := _operation(live, found, deployment)):
            return live, found
        left = deadline - time.monotonic()
        if left <= 0:
            raise KitError(
                f"{busy} and did not finish within {_WAIT_SECONDS / 60:g} minutes",
                where=name_of(props),
                fix="see the endpoint's activity log on Azure; repeat `pulumi up` once the operation has ended",
            )
        if not told:
            told = True
            say(f"{name_of(props)} {busy}: waiting, at most {left / 60:.0f} minutes")
        next(pause)


def _operation(live: Document | None, found: Document | None, deployment: str) -> str:
    """Describe the operation in progress on an endpoint or its deployment; empty: none."""
    if (state := state_of(live)) in _BUSY:
        return f"is {state}"
    if (state := state_of(found)) in _BUSY:
        return f"has deployment {deployment} in state {state}"
    return ""


def _pauses() -> Iterator[None]:
    """Sleeps before each item, longer each time."""
    seconds, most = _POLL_SECONDS
    while True:
        time.sleep(seconds)
        yield
        seconds = min(most, 2 * seconds)


def name_of(props: Properties) -> str:
    """Return the endpoint's name in errors."""
    return f"endpoint {props['endpoint'].rpartition('/')[2]}"
