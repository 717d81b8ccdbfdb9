"""A stack's registry on a twin, as `llmops images push` meets it. Docker itself: tests/containers."""

import base64
import hashlib
import json
import shutil
import urllib.parse
import urllib.request
from http.client import HTTPResponse
from typing import Any

import pytest

from llmops_kit.cli.images.oci import Repository
from llmops_kit.cli.images.sbom import MEDIA_TYPE
from llmops_kit.cli.interfaces.docker_push import Login
from llmops_kit.cli.platforms.azure.image_registry import AcrImages
from llmops_kit.core.errors import KitError
from tests.emulated.cli.azure.conftest import MakePlatform
from tests.support.servers.serving import until

pytestmark = pytest.mark.skipif(not shutil.which("docker-registry"), reason="no docker-registry on this machine")
DOCKER = "application/vnd.docker.distribution.manifest.v2+json"


def ask(method: str, url: str, data: bytes | None = None, **headers: str) -> HTTPResponse:
    return urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method), timeout=120)


def push(login: Login, repository: str, tag: str) -> str:
    """An image as Docker's client pushes one; its digest."""
    base = f"http://{login.host}"
    secret = base64.b64encode(f"{login.user}:{login.password}".encode()).decode()
    query = urllib.parse.urlencode({"service": login.host, "scope": f"repository:{repository}:pull,push"})
    with ask("GET", f"{base}/oauth2/token?{query}", Authorization=f"Basic {secret}") as answer:
        let_in = {"Authorization": f"Bearer {json.load(answer)['access_token']}"}

    def upload(content: bytes) -> dict[str, Any]:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        with ask("POST", f"{base}/v2/{repository}/blobs/uploads/", b"", **let_in) as answer:
            place = urllib.parse.urljoin(base, answer.headers["Location"])
        ask("PUT", f"{place}&digest={digest}", content, **let_in, **{"Content-Type": "application/octet-stream"})
        return {"size": len(content), "digest": digest}

    config = {**upload(b'{"architecture": "amd64", "os": "linux"}'), "mediaType": "application/json"}
    layer = {**upload(b"layer"), "mediaType": "application/octet-stream"}
    manifest = {"schemaVersion": 2, "mediaType": DOCKER, "config": config, "layers": [layer]}
    url = f"{base}/v2/{repository}/manifests/{tag}"
    with ask("PUT", url, json.dumps(manifest).encode(), **let_in, **{"Content-Type": DOCKER}) as answer:
        return str(answer.headers["Docker-Content-Digest"])


def test_an_image_is_pushed_found_and_removed(make_platform: MakePlatform) -> None:
    platform = make_platform()
    images = AcrImages(platform.outputs, platform.session)
    assert images.url("serving") == f"{platform.azure.registry}/serving"
    assert images.find("serving", "1") == ""
    login = images.login("serving")
    assert login.host == platform.azure.registry
    assert login.password not in repr(login)
    digest = push(login, "serving", "1")
    assert images.find("serving", "1") == digest
    assert images.find("serving", "2") == ""
    platform.remove_data()
    until(lambda: images.find("serving", "1") == "")


@pytest.mark.scorecard("sbom")
def test_an_sbom_is_attached_to_an_image_once(make_platform: MakePlatform) -> None:
    platform = make_platform()
    images = AcrImages(platform.outputs, platform.session)
    login = images.login("serving")
    digest = push(login, "serving", "1")
    repository = Repository(login, "serving")
    assert repository.attached(digest, MEDIA_TYPE) == []
    artifact = repository.attach(digest, MEDIA_TYPE, b'{"bomFormat": "CycloneDX"}')
    assert Repository(login, "serving").attached(digest, MEDIA_TYPE) == [artifact]
    assert repository.attached(digest, "application/other") == []
    repository.attach(digest, "application/other", b"other")
    assert repository.attach(digest, MEDIA_TYPE, b'{"bomFormat": "CycloneDX"}') == artifact
    assert repository.attached(digest, MEDIA_TYPE) == [artifact]
    assert images.find("serving", "1") == digest
    with pytest.raises(KitError, match="the registry answered 404"):
        repository.attach("sha256:" + "0" * 64, MEDIA_TYPE, b"{}")
    platform.remove_data()
    until(lambda: images.find("serving", "1") == "")


def test_a_registry_of_another_stack_is_left_as_it_is(make_platform: MakePlatform) -> None:
    platform = make_platform(tagged=False)
    images = AcrImages(platform.outputs, platform.session)
    digest = push(images.login("serving"), "serving", "1")
    platform.remove_data()
    assert images.find("serving", "1") == digest


def test_a_registry_that_is_not_there_is_told(make_platform: MakePlatform) -> None:
    platform = make_platform()
    here = platform.outputs.model_copy(
        update={"azure": platform.azure.model_copy(update={"registry": "localhost:1", "repositories": {"x": "l/x"}})}
    )
    with pytest.raises(KitError) as refused:
        AcrImages(here, platform.session).login("x")
    assert "localhost:1" in refused.value.where
