"""Azure clients of the program and of its dynamic providers: in the stack's subscription alone, a twin's or Azure's.

Azure Resource Manager is met by `azure-mgmt-core`'s own pipeline: the kit needs a handful of calls, of many services.
"""

import base64
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from contract.errors import KitError
from contract.twins import METADATA_VARIABLE, TWIN_SUBSCRIPTION, azure_twin_address

ARM_SCOPE = "https://management.azure.com/.default"
_ARM = "https://management.azure.com"
_SUBSCRIPTIONS_API = "2022-12-01"
_POLL_SECONDS = 5.0  # of an operation, where the answer has no Retry-After
_USE_TWIN = '`eval "$(llmops twin azure env)"` points every Azure client of this shell at the twin'
_USE_AZURE = f"unset {METADATA_VARIABLE} and AZURE_AUTHORITY_HOST, and `az login` with the subscription's account"
_Document = dict[str, Any]


class Place(NamedTuple):
    """Where a stack lives. Kept by every dynamic resource; nothing in it is secret."""

    subscription: str
    tenant: str
    location: str

    @classmethod
    def of(cls, props: Mapping[str, Any]) -> "Place":
        """From a dynamic resource's properties."""
        return cls(props["subscription"], props["tenant"], props["location"])

    @property
    def twin(self) -> bool:
        """On a twin, not on Azure."""
        return self.subscription == TWIN_SUBSCRIPTION


class Who(NamedTuple):
    """Who this process is in Microsoft Entra ID."""

    object_id: str
    kind: str  # User, ServicePrincipal: a role assignment's principalType


class Caller(NamedTuple):
    """Where this process' Azure clients go."""

    subscription: str
    tenant: str
    location: str
    twin: str  # the twin's URL; empty on Azure

    @property
    def place(self) -> Place:
        """For what is kept."""
        return Place(self.subscription, self.tenant, self.location)


def find_caller(subscription: str, location: str, group: str = "") -> Caller:
    """Ask Azure Resource Manager where this process may deploy.

    https://learn.microsoft.com/rest/api/resources/subscriptions/get

    Args:
        subscription: empty: the environment's, or that of `az login`.
        location: empty: that of the group.
        group: resource id of a group that is given, or empty.

    Raises:
        KitError: no subscription, no location, no credentials, or a twin's subscription where no twin is.
    """
    twin = azure_twin_address(os.environ)
    subscription = subscription or _subscription_of_environment()
    if bool(twin) != (subscription == TWIN_SUBSCRIPTION):
        raise KitError(
            f"subscription {subscription} is asked for at {twin or 'Azure'}, which can't be",
            where=f"${METADATA_VARIABLE} and llmops:azure.subscription",
            fix=f"{_USE_TWIN}; or {_USE_AZURE}",
        )
    tenant = _tenant_of(subscription)
    if tenant is None:
        raise KitError(
            f"there is no subscription {subscription} for these credentials",
            where="llmops:azure.subscription",
            fix="`az account list` shows those that there are",
        )
    location = location or _location_of(group)
    return Caller(subscription, tenant, location.lower().replace(" ", ""), twin)


def require_place(place: Place) -> Who:
    """See that this process may touch the stack; who it is.

    Raises:
        KitError: the stack is a twin's and this process' Azure clients go to Azure, or the reverse; or the
            credentials don't reach its subscription.
    """
    twin = azure_twin_address(os.environ)
    if place.twin and not twin:
        raise KitError(
            "this stack lives on a twin, but Azure clients here talk to Azure",
            where=place.subscription,
            fix=_USE_TWIN,
        )
    if twin and not place.twin:
        raise KitError(
            f"this stack lives in subscription {place.subscription}, but Azure clients here talk to a twin",
            where=f"${METADATA_VARIABLE}={os.environ[METADATA_VARIABLE]}",
            fix=_USE_AZURE,
        )
    if _tenant_of(place.subscription) != place.tenant:
        raise KitError(
            f"this stack lives in subscription {place.subscription} of tenant {place.tenant}, which these credentials "
            "do not reach",
            where="Azure credentials",
            fix="`az login --tenant` with the stack's tenant, or give $AZURE_* of it, and repeat",
        )
    return who()


def who() -> Who:
    """Who this process is, by its own token. (The token is read, not judged: Azure does that.)"""
    claims = _claims()
    application = claims.get("idtyp") == "app" or ("upn" not in claims and "scp" not in claims)
    return Who(claims["oid"], "ServicePrincipal" if application else "User")


def find(place: Place, id_: str, api_version: str, tags: Mapping[str, str] | None = None) -> _Document | None:
    """A resource as Azure Resource Manager has it; None: there is none.

    Args:
        place: the stack's.
        id_: resource id.
        api_version: of its type.
        tags: what it must carry if it carries tags at all, to be the stack's own.

    Raises:
        KitError: it carries others; or as `require_place`.
    """
    require_reach(place)
    found = _get(id_, api_version)
    if found is not None and tags and "tags" in found and not tags.items() <= (found["tags"] or {}).items():
        raise KitError(
            "exists already, and does not belong to this stack",
            where=id_,
            fix="remove or rename it; or give it to the stack by its id, in llmops:azure, if it may be used",
        )
    return found


def look_up(place: Place, id_: str, api_version: str, key: str) -> _Document:
    """A resource that a setting gives.

    Raises:
        KitError: there is none.
    """
    found = find(place, id_, api_version)
    if found is None:
        raise KitError(
            f"there is no {id_}, or these credentials may not see it",
            where=f"llmops:azure.{key}",
            fix="correct the id, or take the setting away: then the kit makes one",
        )
    return found


def send(place: Place, method: str, id_: str, api_version: str, body: _Document | None = None) -> _Document | None:
    """One call of Azure Resource Manager, for dynamic resources; None for 404.

    Raises:
        KitError: Azure refuses, by its own words; or as `require_place`.
    """
    require_reach(place)
    return _call(method, id_, api_version, body)


@lru_cache
def require_reach(place: Place) -> None:
    """`require_place`, once for a process and a place."""
    require_place(place)


@lru_cache
def credential() -> Any:
    """Azure's own chain: $AZURE_*, workload identity, managed identity (a twin's too), `az login`.

    https://learn.microsoft.com/azure/developer/python/sdk/authentication/credential-chains
    """
    from azure.identity import DefaultAzureCredential

    # A twin's authority is no host of Microsoft's: asking Microsoft's hosts about it would be refused.
    return DefaultAzureCredential(disable_instance_discovery=bool(azure_twin_address(os.environ)))


@contextmanager
def explained(where: str) -> Iterator[None]:
    """Turn Azure's errors into KitErrors that say what Azure said, where, and the way out."""
    from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ServiceRequestError

    try:
        yield
    except ClientAuthenticationError as e:
        raise KitError(
            f"Azure takes no credentials from here: {_first_line(e)}",
            where=where,
            fix=f"`az login`, or $AZURE_CLIENT_ID, $AZURE_TENANT_ID and a secret; without a subscription: {_USE_TWIN}",
        ) from e
    except HttpResponseError as e:
        raise KitError(
            f"Azure refused: {error_code(e)}: {_first_line(e)}",
            where=where,
            fix="see that the credentials may do this: `llmops plan --policy` prints what it takes",
        ) from e
    except (ServiceRequestError, ValueError) as e:
        fix = (
            "`llmops twin azure status`" if azure_twin_address(os.environ) else "see that Azure is reachable from here"
        )
        raise KitError(f"Azure does not answer: {_first_line(e)}", where=where, fix=fix) from e


def error_code(error: Exception) -> str:
    """The code of an azure.core HttpResponseError: Azure's word, or the status."""
    code = getattr(getattr(error, "error", None), "code", None) or getattr(error, "error_code", None)
    return str(code or getattr(error, "status_code", ""))


def forget() -> None:
    """Drop what is kept of the environment: for tests that change it."""
    for cached in (require_reach, credential, _arm):
        cached.cache_clear()


def _claims() -> _Document:
    with explained("Microsoft Entra ID"):
        token = credential().get_token(ARM_SCOPE).token
    body = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))


def _tenant_of(subscription: str) -> str | None:
    """A subscription's tenant; None: there is no such subscription for these credentials.

    Who has roles on a resource group alone may not read the subscription, which takes tokens of its own tenant only.
    """
    try:
        found = _get(f"/subscriptions/{subscription}", _SUBSCRIPTIONS_API)
    except KitError as e:
        if getattr(e.__cause__, "status_code", 0) != 403:
            raise
        return str(_claims()["tid"])
    return None if found is None else str(found["tenantId"])


def _get(id_: str, api_version: str) -> _Document | None:
    return _call("GET", id_, api_version, None)


def _call(method: str, id_: str, api_version: str, body: _Document | None) -> _Document | None:
    """The answer; of a change, when its operation has ended: until then Azure may show what was there before."""
    from azure.core.exceptions import HttpResponseError
    from azure.core.polling import LROPoller
    from azure.core.rest import HttpRequest
    from azure.mgmt.core.exceptions import ARMErrorFormat
    from azure.mgmt.core.polling.arm_polling import ARMPolling

    request = HttpRequest(method, _arm().format_url(id_), params={"api-version": api_version}, json=body)
    with explained(id_):
        answered = _arm().send_request(request, _return_pipeline_response=True)
        response = answered.http_response
        if response.status_code == 404:
            return None
        if response.status_code >= 400:
            raise HttpResponseError(response=response, error_format=ARMErrorFormat)
        if method == "GET":
            return _content(answered)
        return LROPoller(_arm(), answered, _content, ARMPolling(_POLL_SECONDS)).result()


def _content(answered: Any) -> _Document:
    response = answered.http_response
    return response.json() if response.text() else {}


@lru_cache
def _arm() -> Any:
    """The pipeline of azure-mgmt-core: retries, and bearer tokens of the chain."""
    from azure.core.configuration import Configuration
    from azure.core.pipeline import policies
    from azure.mgmt.core import ARMPipelineClient
    from azure.mgmt.core.policies import ARMChallengeAuthenticationPolicy

    config: Any = Configuration()
    config.retry_policy = policies.RetryPolicy()
    config.headers_policy = policies.HeadersPolicy()
    config.user_agent_policy = policies.UserAgentPolicy("llmops-kit")
    config.authentication_policy = ARMChallengeAuthenticationPolicy(credential(), ARM_SCOPE)
    return ARMPipelineClient(azure_twin_address(os.environ) or _ARM, config=config)


def _subscription_of_environment() -> str:
    """$AZURE_SUBSCRIPTION_ID, or the one that `az login` has made the default.

    Raises:
        KitError: neither says one.
    """
    given = os.environ.get("AZURE_SUBSCRIPTION_ID") or os.environ.get("ARM_SUBSCRIPTION_ID")
    if given:
        return given
    folder = Path(os.environ.get("AZURE_CONFIG_DIR") or Path.home() / ".azure")
    profile = folder / "azureProfile.json"
    if profile.is_file():
        entries = json.loads(profile.read_text(encoding="utf-8-sig")).get("subscriptions", [])
        for entry in entries:
            if entry.get("isDefault"):
                return str(entry["id"])
    raise KitError(
        "no Azure subscription is set",
        where="llmops:azure.subscription",
        fix="`az login`, or `pulumi config set --path llmops:azure.subscription ID`, or export AZURE_SUBSCRIPTION_ID",
    )


def _location_of(group: str) -> str:
    found = _get(group, "2024-03-01") if group else None
    if found is None:
        raise KitError(
            f"there is no resource group {group}" if group else "no Azure location is set",
            where="llmops:azure.resource_group" if group else "llmops:azure.location",
            fix="`pulumi config set --path llmops:azure.location westeurope`",
        )
    return str(found["location"])


def _first_line(error: Exception) -> str:
    return str(getattr(error, "message", "") or error).strip().splitlines()[0]
