"""Docker's own client against a twin's registry: log in, push, pull."""

import base64
import os
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from tests.containers.conftest import docker
from twins.tests.support.aws import RunningTwin, running_twin

pytestmark = pytest.mark.docker


@pytest.fixture
def twin(tmp_path: Path, base: str) -> Iterator[RunningTwin]:
    """A twin, and a configuration of Docker's client of its own."""
    with running_twin(tmp_path / "twin") as made, mock.patch.dict(os.environ, DOCKER_CONFIG=str(tmp_path)):
        yield made
        host = made.info.url.removeprefix("http://")
        if left := docker("images", "--quiet", "--filter", f"reference={host}/*/*").split():
            docker("rmi", "--force", *set(left))


def test_docker_logs_in_pushes_and_pulls(twin: RunningTwin, tmp_path: Path) -> None:
    ecr = twin.client("ecr")
    ecr.create_repository(repositoryName="kit/small", imageTagMutability="IMMUTABLE")
    (data,) = ecr.get_authorization_token()["authorizationData"]
    user, _, password = base64.b64decode(data["authorizationToken"]).decode().partition(":")
    host = data["proxyEndpoint"].removeprefix("http://")
    name = f"{host}/kit/small:v1"
    for content in ("one", "two"):
        (tmp_path / content).mkdir()
        (tmp_path / content / "Dockerfile").write_text(
            f"FROM scratch\nCOPY Dockerfile /file\n# {content} of {tmp_path}\n"
        )
    image = docker("build", "--quiet", "--tag", name, str(tmp_path / "one"))

    assert "no basic auth credentials" in docker("push", name, code=1)
    assert "401" in docker("login", "--username", user, "--password-stdin", host, stdin="wrong", code=1)
    docker("login", "--username", user, "--password-stdin", host, stdin=password)
    docker("push", name)
    (found,) = ecr.describe_images(repositoryName="kit/small")["imageDetails"]
    docker("rmi", name)
    docker("pull", name)
    assert docker("image", "inspect", "--format", "{{.Id}}", name) == image
    by_digest = f"{host}/kit/small@{found['imageDigest']}"
    assert docker("image", "inspect", "--format", "{{index .RepoDigests 0}}", name) == by_digest

    docker("build", "--quiet", "--tag", name, str(tmp_path / "two"))
    assert "cannot be overwritten because the tag is immutable" in docker("push", name, code=1)
    docker("tag", name, f"{host}/kit/nowhere:v1")
    assert "name unknown: The repository with name 'kit/nowhere'" in docker("push", f"{host}/kit/nowhere:v1", code=1)
    ecr.batch_delete_image(repositoryName="kit/small", imageIds=[{"imageDigest": found["imageDigest"]}])
    docker("rmi", "--force", image, docker("images", "--quiet", name))
    assert "manifest unknown" in docker("pull", name, code=1)
    docker("logout", host)
    assert "no basic auth credentials" in docker("pull", name, code=1)
