"""Client of Azure Resource Manager on azure-mgmt-core's pipeline: the kit needs few calls, but of many services.

https://learn.microsoft.com/rest/api/azure
"""

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

from azure.core.credentials import TokenCredential
from azure.core.exceptions import HttpResponseError
from azure.core.pipeline.policies import (
    CustomHookPolicy,
    HeadersPolicy,
    RedirectPolicy,
    RequestIdPolicy,
    RetryPolicy,
    UserAgentPolicy,
)
from azure.core.polling import LROPoller
from azure.core.rest import HttpRequest
from azure.mgmt.core import ARMPipelineClient
from azure.mgmt.core.exceptions import ARMErrorFormat
from azure.mgmt.core.policies import ARMChallengeAuthenticationPolicy
from azure.mgmt.core.polling.arm_polling import ARMPolling

from llmops_kit.clouds.azure.errors import NO_SUBSCRIPTION, error_code, explained, is_missing
from llmops_kit.clouds.azure.names import api_version as version_of
from llmops_kit.core.errors import KitError

ARM = "https://management.azure.com"
_SCOPE = f"{ARM}/.default"
_POLL_SECONDS = 5.0  # for responses without Retry-After
_MAKE = ("PUT", "PATCH")  # a 404 to these means that something they depend on is missing
Document = dict[str, Any]


class ResourceManager:
    """Resources by id, each by its type's own API version unless another one is given.

    Azure's own policy retries throttled and failed requests, as Retry-After says."""

    def __init__(self, url: str, credential: TokenCredential, observe: Callable[[Any], None] | None = None) -> None:
        """Creates the client.

        Args:
            url: its base, or a twin's.
            credential: of the caller.
            observe: called with the PipelineResponse of each attempt.
        """
        self.url = url.rstrip("/")
        policies = [
            RequestIdPolicy(),
            HeadersPolicy(),
            UserAgentPolicy("llmops-kit"),
            RedirectPolicy(permit_redirects=False),  # a redirect could lead a token elsewhere
            RetryPolicy(),
            ARMChallengeAuthenticationPolicy(credential, _SCOPE),
            CustomHookPolicy(raw_response_hook=observe),
        ]
        self._client: ARMPipelineClient[Any, Any] = ARMPipelineClient(self.url, policies=policies)

    def find(self, id_: str, api_version: str = "") -> Document | None:
        """Returns a resource; None if it does not exist."""
        return self._call("GET", id_, api_version)

    def get(self, id_: str, api_version: str = "") -> Document:
        """Returns a resource that must exist.

        Raises:
            KitError: it does not exist; or Azure refuses.
        """
        found = self.find(id_, api_version)
        if found is None:
            raise KitError("is not on Azure", where=id_, fix="`llmops up` creates the stack's resources")
        return found

    def list(self, id_: str, api_version: str = "", **query: str) -> Iterator[Document]:
        """Yields the resources of a collection, page by page; none if the collection's parent is gone."""
        page = self._call("GET", id_, api_version, query=query)
        while page:
            yield from page.get("value", [])
            link = page.get("nextLink") or ""
            if link and _host(link) != _host(self.url):
                raise KitError("the next page is elsewhere, where no token is sent", where=id_)
            page = self._send(HttpRequest("GET", link), id_) if link else None

    def put(self, id_: str, body: Document, api_version: str = "", *, wait: bool = True) -> Document:
        """Creates or replaces a resource; with `wait`, waits until that is done."""
        return self._call("PUT", id_, api_version, body=body, wait=wait) or {}

    def patch(self, id_: str, body: Document, api_version: str = "") -> Document:
        """Changes members of an existing resource, and waits until that is done."""
        return self._call("PATCH", id_, api_version, body=body, wait=True) or {}

    def post(self, id_: str, action: str, body: Document | None = None, api_version: str = "") -> Document | None:
        """Calls an action, and waits until it is done; returns None if there is no such resource."""
        return self._call("POST", f"{id_}/{action}", api_version, body=body, wait=True)

    def delete(self, id_: str, api_version: str = "", **query: str) -> None:
        """Deletes a resource, if it exists, and waits until it is gone."""
        self._call("DELETE", id_, api_version, query=query, wait=True)

    def get_url(self, url: str) -> Document:
        """Returns a document of another service that accepts the caller's token for Azure Resource Manager."""
        return self._send(HttpRequest("GET", url), url) or {}

    def _call(
        self,
        method: str,
        id_: str,
        api_version: str,
        *,
        body: Document | None = None,
        query: dict[str, str] | None = None,
        wait: bool = False,
    ) -> Document | None:
        params = {"api-version": api_version or version_of(id_), **(query or {})}
        return self._send(HttpRequest(method, f"{self.url}{id_}", params=params, json=body), id_, wait=wait)

    def _send(self, request: HttpRequest, where: str, *, wait: bool = False) -> Document | None:
        with explained(where):
            answered = self._client._pipeline.run(request)
            response = answered.http_response
            response.read()
            if response.status_code >= 400:
                error = HttpResponseError(response=response, error_format=ARMErrorFormat)
                if is_missing(error) and request.method not in _MAKE and error_code(error) not in NO_SUBSCRIPTION:
                    return None
                raise error
            if wait:
                poller: LROPoller[Any] = LROPoller(self._client, answered, _content, ARMPolling(_POLL_SECONDS))
                return poller.result()
            return _content(answered)


def _host(url: str) -> tuple[str, str, int | None]:
    """Returns scheme, host and port of a URL; Azure sometimes writes links with `:443`."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or {"https": 443, "http": 80}.get(parts.scheme)


def _content(answered: Any) -> Document | None:
    response = answered.http_response
    return response.json() if response.text() else {}
