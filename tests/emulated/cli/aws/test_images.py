"""An SBOM in a stack's registry on the twin, as `llmops images push` attaches it. Docker itself: tests/containers."""

import base64
import json
import shutil
from typing import Any

import pytest

from llmops_kit.cli.images.oci import Repository
from llmops_kit.cli.images.sbom import MEDIA_TYPE
from llmops_kit.cli.interfaces.docker_push import Login
from llmops_kit.core.errors import KitError
from tests.support.clouds.aws import Account

pytestmark = pytest.mark.skipif(not shutil.which("docker-registry"), reason="no docker-registry on this machine")
DOCKER = "application/vnd.docker.distribution.manifest.v2+json"


class Pushed(Repository):
    """A repository that an image is pushed to."""

    def push(self, tag: str) -> str:
        config: dict[str, Any] = {"size": 2, "digest": self._upload(b"{}"), "mediaType": "application/json"}
        layer: dict[str, Any] = {"size": 5, "digest": self._upload(b"layer"), "mediaType": "application/octet-stream"}
        manifest = {"schemaVersion": 2, "mediaType": DOCKER, "config": config, "layers": [layer]}
        return self._put(tag, DOCKER, json.dumps(manifest).encode())[0]


@pytest.mark.scorecard("sbom")
def test_an_sbom_is_attached_to_an_image_whose_tag_never_moves(account: Account) -> None:
    ecr = account.client("ecr")
    ecr.create_repository(repositoryName="kit-dev-serving", imageTagMutability="IMMUTABLE")
    token = ecr.get_authorization_token()["authorizationData"][0]
    host = token["proxyEndpoint"].removeprefix("http://")
    password = base64.b64decode(token["authorizationToken"]).decode().partition(":")[2]
    login = Login(host, "AWS", password)
    repository = Pushed(login, "kit-dev-serving")
    digest = repository.push("1")
    assert repository.attached(digest, MEDIA_TYPE) == []
    artifact = repository.attach(digest, MEDIA_TYPE, b'{"bomFormat": "CycloneDX"}')
    assert Repository(login, "kit-dev-serving").attached(digest, MEDIA_TYPE) == [artifact]
    tags = ecr.describe_images(repositoryName="kit-dev-serving", imageIds=[{"imageDigest": digest}])
    assert tags["imageDetails"][0]["imageTags"] == ["1"]
    with pytest.raises(KitError, match="the registry answered"):
        Repository(Login(host, "AWS", "wrong"), "kit-dev-serving").attached(digest, MEDIA_TYPE)
    ecr.delete_repository(repositoryName="kit-dev-serving", force=True)
