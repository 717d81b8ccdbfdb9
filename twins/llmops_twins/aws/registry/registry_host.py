"""ECR's registry on the twin's own port: login, permissions, and tags that may be immutable.

https://docs.aws.amazon.com/AmazonECR/latest/userguide/common-errors-docker.html has the error messages.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from werkzeug.wrappers import Request

from llmops_twins.aws import faults
from llmops_twins.aws.calls import ApiCall, AwsApiError
from llmops_twins.aws.registry import registry, repository_images
from llmops_twins.aws.registry.registry import Holder
from llmops_twins.aws.twin import AccountTwin
from llmops_twins.core.registry import pull_names as common
from llmops_twins.core.registry.registry_api import PULLS, Asked, RegistryError, RegistryFront, unsupported
from llmops_twins.core.registry.registry_storage import Storage

# Registry operation -> the IAM action that ECR checks.
_ACTIONS = {
    "read manifest": "BatchGetImage",
    "write manifest": "PutImage",
    "list tags": "ListImages",
    "find layer": "BatchCheckLayerAvailability",
    "read layer": "GetDownloadUrlForLayer",
    "begin layer": "InitiateLayerUpload",
    "write layer": "UploadLayerPart",
    "end layer": "CompleteLayerUpload",
}
# Error code of ECR's API -> code and status of the registry's API.
_CODES = {
    "RepositoryNotFoundException": ("NAME_UNKNOWN", 404),
    "ImageNotFoundException": ("MANIFEST_UNKNOWN", 404),
    "ImageTagAlreadyExistsException": ("TAG_INVALID", 400),
    "InvalidParameterException": ("MANIFEST_INVALID", 400),
    "ThrottlingException": ("TOOMANYREQUESTS", 429),
    "InternalFailure": ("UNKNOWN", 500),
}


def front(twin: AccountTwin, storage: Storage) -> RegistryFront:
    """Returns the WSGI application at `/v2/`."""
    return RegistryFront(_Ecr(twin), storage)


@dataclass(frozen=True)
class _EcrRepository:
    twin: AccountTwin
    region: str
    name: str

    @property
    def stored(self) -> str:
        """The repository's name in the storage, with its region: the storage knows no regions."""
        return f"{self.region}/{self.name}"

    def tags(self) -> list[str]:
        with _in_words_of_the_registry(self.twin):
            return repository_images.tags(self.twin, self.region, self.name)

    def digest(self, reference: str) -> str:
        with _in_words_of_the_registry(self.twin):
            return repository_images.digest(self.twin, self.region, self.name, reference)

    def check_tag(self, tag: str) -> None:
        with _in_words_of_the_registry(self.twin):
            repository_images.require_free(self.twin, self.region, self.name, tag)

    def put(self, manifest: str, media_type: str, tag: str) -> None:
        with _in_words_of_the_registry(self.twin):
            repository_images.require_free(self.twin, self.region, self.name, tag)
            repository_images.put(self.twin, self.region, self.name, manifest, media_type, tag)

    def delete(self, reference: str) -> None:
        raise unsupported()


class _Ecr:
    """ECR's decisions about a registry request."""

    def __init__(self, twin: AccountTwin) -> None:
        self._twin = twin

    def greet(self, request: Request) -> None:
        if request.path != "/v2/" or not _by_platform(request):
            self._holder(request)

    def open(self, request: Request, asked: Asked) -> _EcrRepository:
        action = _ACTIONS.get(asked.operation)
        if not action:
            raise unsupported()
        place = common.pulled(self._twin, asked.name) if _by_platform(request) and asked.operation in PULLS else None
        if place:
            found = _EcrRepository(self._twin, *place)
            self._require(found, lambda: 0.0)
            return found
        holder = self._holder(request)
        found = _EcrRepository(self._twin, holder.region, asked.name)
        self._require(found, lambda: self._judge(found, action, holder))
        return found

    def _holder(self, request: Request) -> Holder:
        try:
            holder = registry.holder(self._twin, request.headers.get("Authorization", ""))
        except TimeoutError:
            text = "Your authorization token has expired. Reauthenticate and try again."
            raise RegistryError("DENIED", text, 403) from None
        if holder:
            return holder
        url = self._twin.describe()["url"]
        challenge = f'Basic realm="{url}/",service="ecr.amazonaws.com"'
        raise RegistryError("UNAUTHORIZED", f"Not Authorized: log in to {url} by the token of ECR", 401, challenge)

    def _require(self, repository: _EcrRepository, judge: Callable[[], float]) -> None:
        """Judges a request as a call of ECR's own API; holds the twin's lock only meanwhile."""
        with _in_words_of_the_registry(self._twin):
            slower = judge()
            repository_images.repository(self._twin, repository.region, repository.name)
        time.sleep(slower)

    def _judge(self, repository: _EcrRepository, action: str, who: Holder) -> float:
        call = ApiCall("ecr", action, {"repositoryName": repository.name}, who.access_key, who.region, who.principal)
        slower = faults.delay(self._twin, call)
        faults.meet(self._twin, call, list)
        for judge in self._twin.judges:
            judge(call)
        return slower


def _by_platform(request: Request) -> bool:
    return request.host.partition(":")[0] == registry.PULL_HOST


@contextmanager
def _in_words_of_the_registry(twin: AccountTwin) -> Iterator[None]:
    """Holds the twin's lock, and turns errors of ECR's own API into errors of the registry API."""
    try:
        with twin.lock:
            yield
    except AwsApiError as e:
        code, status = _CODES.get(e.code, ("DENIED", 403))
        raise RegistryError(code, e.message, status) from e
