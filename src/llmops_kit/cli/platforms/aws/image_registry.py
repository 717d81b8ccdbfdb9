"""ECR for `llmops images push`: login, and lookup of images."""

import base64
from typing import Any
from urllib.parse import urlsplit

from llmops_kit.cli.interfaces.docker_push import Login
from llmops_kit.cli.platforms.aws.clients import AwsClients
from llmops_kit.clouds.aws.errors import explained, find
from llmops_kit.core.documents.outputs import StackOutputs
from llmops_kit.core.errors import KitError
from llmops_kit.core.twins import is_loopback


class EcrImages:
    """The repositories of one stack: training and serving.

    https://docs.aws.amazon.com/AmazonECR/latest/userguide/docker-push-ecr-image.html
    """

    def __init__(self, outputs: StackOutputs) -> None:
        assert outputs.aws
        self._stack = outputs.stack
        self._urls = outputs.aws.repositories
        self._clients = AwsClients(outputs.aws.region, outputs.aws.profile)
        self._clients.require(outputs.aws.account, outputs.stack)

    def url(self, image: str) -> str:
        """Returns ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME in the stack's own registry, or in a given one."""
        return self._urls[image]

    def find(self, image: str, tag: str) -> str:
        """Returns the digest of the image with a tag; empty if there is none.

        Raises:
            KitError: there is no such repository, the caller may not read it, or SageMaker would refuse the image.
        """
        host, _, name = self._urls[image].partition("/")
        with explained(self._urls[image]):
            answer = find(
                self._ecr(host).batch_get_image,
                registryId=host.partition(".")[0],
                repositoryName=name,
                imageIds=[{"imageTag": tag}],
            )
        if answer is None:
            fix = f"`llmops up --stack {self._stack}` creates it; in an existing registry, create it yourself"
            raise KitError("there is no such repository", where=self._urls[image], fix=fix)
        found = answer["images"]
        if not found:
            return ""
        _require_docker_manifest(found[0].get("imageManifestMediaType", ""), name, tag)
        return str(found[0]["imageId"]["imageDigest"])

    def login(self, image: str) -> Login:
        """Returns credentials for a push, valid for 12 hours. A twin's registry has its own port on this machine."""
        host = self._urls[image].partition("/")[0]
        with explained(host):
            answer = self._ecr(host).get_authorization_token(registryIds=[host.partition(".")[0]])
        data = answer["authorizationData"][0]
        user, _, password = base64.b64decode(data["authorizationToken"]).decode().partition(":")
        endpoint = data["proxyEndpoint"]
        return Login(urlsplit(endpoint).netloc if is_loopback(endpoint) else host, user, password)

    def _ecr(self, host: str) -> Any:
        return self._clients("ecr", host.split(".")[3])  # the registry's region


def _require_docker_manifest(media_type: str, repository: str, tag: str) -> None:
    if "vnd.oci." in media_type or "manifest.list" in media_type:
        raise KitError(
            f"this image has a manifest that SageMaker's hosting refuses: {media_type}",
            where=f"{repository}:{tag}",
            fix=f"delete it (`aws ecr batch-delete-image --repository-name {repository} --image-ids imageTag={tag}`), "
            "then repeat the command: `llmops images build` creates Docker's format",
        )
