"""Azure Container Registry for `llmops images push`: login, and lookup of images.

https://github.com/Azure/acr/blob/main/docs/AAD-OAuth.md
"""

from typing import Any

from azure.core import PipelineClient
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.core.pipeline.policies import RetryPolicy, UserAgentPolicy
from azure.core.rest import HttpRequest, HttpResponse

from llmops_kit.cli.interfaces.docker_push import Login
from llmops_kit.cli.platforms.azure.exchanges import recorded_session
from llmops_kit.clouds.azure.errors import explained
from llmops_kit.clouds.azure.session import ARM_SCOPE, AzureSession
from llmops_kit.core.documents.outputs import AzureOutput, StackOutputs
from llmops_kit.core.errors import KitError
from llmops_kit.core.twins import is_loopback

_NOBODY = "00000000-0000-0000-0000-000000000000"
"""User name for a login with a token."""
_KINDS = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.index.v1+json",
)


class AcrImages:
    """The repositories of one stack: training and serving."""

    def __init__(self, outputs: StackOutputs, session: AzureSession | None = None) -> None:
        """Opens the registry.

        Args:
            outputs: of the stack.
            session: of its tenant; None: this environment's.
        """
        assert outputs.azure
        self._stack, self._azure = outputs.stack, outputs.azure
        self._session = session or recorded_session(self._azure.subscription)
        self._session.require(self._azure.subscription, self._azure.tenant, outputs.stack)
        self._registry = AcrApi(self._azure, self._session)

    def url(self, image: str) -> str:
        """Returns LOGIN_SERVER/NAME."""
        return self._azure.repositories[image]

    def find(self, image: str, tag: str) -> str:
        """Returns the digest of the image with a tag; empty if there is none, or nothing was pushed yet."""
        return self._registry.digest(self.url(image).partition("/")[2], tag)

    def login(self, image: str) -> Login:
        """Returns credentials for a push, valid for some hours."""
        return Login(self._azure.registry, _NOBODY, self._registry.refresh_token())


class AcrApi:
    """A registry's API; exchanges tokens of Entra ID for the registry's."""

    def __init__(self, azure: AzureOutput, session: AzureSession) -> None:
        self.server, self._tenant, self._session = azure.registry, azure.tenant, session
        scheme = "http" if is_loopback(f"//{azure.registry}") else "https"  # Docker accepts plain HTTP only there
        policies = [UserAgentPolicy("llmops-kit"), RetryPolicy()]
        self._url = f"{scheme}://{azure.registry}"
        self._client: PipelineClient[Any, Any] = PipelineClient(self._url, policies=policies)

    def digest(self, repository: str, tag: str) -> str:
        """Returns the digest of the image with a tag; empty if there is none."""
        with explained(f"{self.server}/{repository}:{tag}", role="AcrPull on the registry"):
            try:
                headers = {"Accept": ", ".join(_KINDS), **self._access(f"repository:{repository}:pull")}
                answer = self._send(
                    HttpRequest("HEAD", f"{self._url}/v2/{repository}/manifests/{tag}", headers=headers)
                )
            except ResourceNotFoundError:
                return ""
        return str(answer.headers["Docker-Content-Digest"])

    def remove(self, repository: str) -> None:
        """Deletes every tagged image of a repository."""
        base = f"{self._url}/v2/{repository}"
        with explained(f"{self.server}/{repository}", role="AcrDelete on the registry"):
            headers = self._access(f"repository:{repository}:pull,metadata_read,delete")
            try:
                while tags := self._send(HttpRequest("GET", f"{base}/tags/list", headers=headers)).json().get("tags"):
                    for digest in {self.digest(repository, tag) for tag in tags} - {""}:
                        self._send(HttpRequest("DELETE", f"{base}/manifests/{digest}", headers=headers))
            except ResourceNotFoundError:
                return

    def refresh_token(self) -> str:
        """Exchanges a token of Entra ID for one of the registry, which is a password for Docker.

        Raises:
            KitError: the registry returns none.
        """
        form = {
            "grant_type": "access_token",
            "service": self.server,
            "tenant": self._tenant,
            "access_token": self._session.token(ARM_SCOPE),
        }
        with explained(self.server, role="AcrPush on the registry"):
            answer = self._send(HttpRequest("POST", f"{self._url}/oauth2/exchange", data=form))
        return _member(answer, "refresh_token", self.server)

    def _access(self, scope: str) -> dict[str, str]:
        form = {
            "grant_type": "refresh_token",
            "service": self.server,
            "scope": scope,
            "refresh_token": self.refresh_token(),
        }
        answer = self._send(HttpRequest("POST", f"{self._url}/oauth2/token", data=form))
        return {"Authorization": f"Bearer {_member(answer, 'access_token', self.server)}"}

    def _send(self, request: HttpRequest) -> HttpResponse:
        response = self._client.send_request(request)
        response.read()
        if response.status_code == 404:
            raise ResourceNotFoundError(response=response)
        if response.status_code >= 400:
            raise HttpResponseError(response=response)
        return response


def _member(answer: HttpResponse, name: str, where: str) -> str:
    found = answer.json().get(name)
    if not found:
        raise KitError(f"the registry returned no {name.replace('_', ' ')}", where=where)
    return str(found)
