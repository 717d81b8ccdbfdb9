"""Resource providers, and which of them are registered in the subscription.

https://learn.microsoft.com/rest/api/resources/providers
"""

import time
from typing import Any

from llmops_twins.azure.protocol import locations
from llmops_twins.azure.protocol.arm_errors import ArmError
from llmops_twins.azure.protocol.calls import ArmCall, Reply
from llmops_twins.azure.protocol.ids import Id
from llmops_twins.azure.twin import TenantTwin

ALWAYS = ("microsoft.resources", "microsoft.authorization", "microsoft.consumption", "microsoft.costmanagement")
"""Providers that are registered in every subscription, and can't be unregistered."""
ELSEWHERE = ("Microsoft.Cdn", "Microsoft.Compute", "Microsoft.PolicyInsights")
"""Providers of a subscription that have no resource types on this twin."""
OF_ENDPOINTS = ("Microsoft.Cdn", "Microsoft.PolicyInsights")
"""Providers that managed online endpoints need registered besides their own; undocumented.

Field reports: https://learn.microsoft.com/answers/questions/1983847,
https://learn.microsoft.com/answers/questions/2129910
and https://github.com/MicrosoftLearning/mslearn-mlops/issues/72, where it is the operation that fails.
"""

REGISTER_SECONDS = 120.0
"""Delay until a provider is registered in all locations; Microsoft names none, users report minutes."""


def namespaces(twin: TenantTwin) -> dict[str, list[str]]:
    """Returns types by namespace, in Azure's spelling."""
    found: dict[str, list[str]] = {}
    for kind in twin.kinds.values():
        namespace, _, type_ = kind.type.partition("/")
        found.setdefault(namespace, []).append(type_)
    return {**{each: [] for each in ELSEWHERE}, **found}


def is_registered(twin: TenantTwin, namespace: str) -> bool:
    """Returns whether a provider is registered: on a new twin all are."""
    return _state(twin, namespace) == "Registered"


def require_registered(twin: TenantTwin, namespace: str) -> None:
    """Refuses a change of a resource whose provider is not registered, or still registers: in a location that isn't
    done yet (70 % sure: Azure finishes one location after the other, this twin all at once).

    https://learn.microsoft.com/azure/azure-resource-manager/management/resource-providers-and-types#register-resource-provider

    Raises:
        ArmError: 409 MissingSubscriptionRegistration.
    """
    if not is_registered(twin, namespace):
        raise ArmError(
            409,
            "MissingSubscriptionRegistration",
            f"The subscription is not registered to use namespace '{namespace}'. See https://aka.ms/rps-not-found for "
            "how to register subscriptions.",
            target=namespace,
        )


def require_for_endpoints(twin: TenantTwin) -> None:
    """Refuses a managed online endpoint if a required provider is not registered. Like Azure, names none of them.

    Raises:
        ArmError: 400 SubscriptionNotRegistered.
    """
    if not all(is_registered(twin, each) for each in OF_ENDPOINTS):
        raise ArmError(
            400,
            "SubscriptionNotRegistered",
            "Resource provider [N/A] isn't registered with Subscription [N/A]. Please see troubleshooting guide, "
            "available here: https://aka.ms/register-resource-provider",
        )


def respond(twin: TenantTwin, call: ArmCall, parsed: Id) -> Reply | None:
    """Answers a call about a provider itself; None for other calls."""
    if "/" in parsed.type or not parsed.type or parsed.group or parsed.type == "Microsoft.Resources":
        return None
    if parsed.tail.lower() in ("register", "unregister") and call.method == "POST":
        twin.require(call, f"{parsed.type}/{parsed.tail.lower()}/action", parsed.scope)
        return Reply(200, _register(twin, parsed.type, registered=parsed.tail.lower() == "register"))
    if not parsed.tail and call.method == "GET":
        twin.require(call, f"{parsed.type}/read", parsed.scope)
        return Reply(200, document(twin, parsed.type))
    return None


def document(twin: TenantTwin, namespace: str) -> dict[str, Any]:
    """Returns a provider's document, as GET answers it.

    Raises:
        ArmError: 404 InvalidResourceNamespace.
    """
    for known, types in namespaces(twin).items():
        if known.lower() == namespace.lower():
            return {
                "id": f"/subscriptions/{twin.subscription}/providers/{known}",
                "namespace": known,
                "registrationPolicy": "RegistrationFree" if known.lower() in ALWAYS else "RegistrationRequired",
                "registrationState": _state(twin, known),
                "resourceTypes": [_type(twin, known, type_) for type_ in sorted(types)],
            }
    raise ArmError(404, "InvalidResourceNamespace", f"The resource namespace '{namespace}' is invalid.")


def _state(twin: TenantTwin, namespace: str) -> str:
    name = namespace.lower()
    if name in ALWAYS:
        return "Registered"
    if name in twin.state.get("unregistered", []):
        return "NotRegistered"
    return "Registering" if time.time() < twin.state.get("registering", {}).get(name, 0.0) else "Registered"


def _type(twin: TenantTwin, namespace: str, type_: str) -> dict[str, Any]:
    kind = twin.kinds[f"{namespace}/{type_}".lower()]
    places = list(locations.DISPLAY_NAMES.values()) if kind.location else []
    return {"resourceType": type_, "locations": places, "apiVersions": list(kind.versions)}


def _register(twin: TenantTwin, namespace: str, *, registered: bool) -> dict[str, Any]:
    document(twin, namespace)  # raises if the provider does not exist
    without: list[str] = twin.state.setdefault("unregistered", [])
    if registered and namespace.lower() in without:
        without.remove(namespace.lower())
        done: dict[str, float] = twin.state.setdefault("registering", {})
        done[namespace.lower()] = time.time() + twin.scaled(REGISTER_SECONDS)
    elif not registered and namespace.lower() not in (*ALWAYS, *without):
        without.append(namespace.lower())
    twin.changed()
    return document(twin, namespace)
