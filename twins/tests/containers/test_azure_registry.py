"""Docker's own client against a container registry of Azure's twin: log in, push, pull, and what roles refuse."""

import os
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from llmops_twins.azure.entra import principals
from llmops_twins.azure.protocol.calls import Principal
from llmops_twins.azure.registry import registry, tokens
from tests.containers.conftest import docker
from twins.tests.support.azure_hosts import LOCATION, Hosts, running_hosts

pytestmark = pytest.mark.docker
VERSION = "2023-07-01"


@pytest.fixture
def hosts(tmp_path: Path, base: str) -> Iterator[Hosts]:
    """A twin, and a configuration of Docker's client of its own."""
    with running_hosts(tmp_path / "twin") as made, mock.patch.dict(os.environ, DOCKER_CONFIG=str(tmp_path)):
        yield made
        # Another file's images are in registries of that form too, at the same time.
        mine = [word for name in ("small", "other") for word in ("--filter", f"reference=localhost:*/kit/{name}")]
        left = docker("images", "--format", "{{.Repository}}:{{.Tag}}", *mine).split()
        if names := [name for name in left if not name.endswith("<none>")]:
            docker("rmi", "--force", *names)


def password(hosts: Hosts, path: str, caller: Principal) -> str:
    document = hosts.twin.find(path)
    assert document
    return tokens.refresh_token(hosts.twin, document, caller)


def test_docker_logs_in_pushes_and_pulls(hosts: Hosts, tmp_path: Path) -> None:
    path = f"{hosts.arm.group()}/providers/Microsoft.ContainerRegistry/registries/kitimages"
    hosts.arm.put(path, VERSION, {"location": LOCATION, "sku": {"name": "Basic"}})
    host = hosts.arm.get(path, VERSION).body["properties"]["loginServer"]
    name, user = f"{host}/kit/small:v1", tokens.TOKEN_USER
    (tmp_path / "Dockerfile").write_text(f"FROM scratch\nCOPY Dockerfile /file\n# {tmp_path}\n")
    image = docker("build", "--quiet", "--tag", name, str(tmp_path))

    assert "unauthorized" in docker("pull", name, code=1)
    assert "authentication required" in docker(
        "login", "--username", user, "--password-stdin", host, stdin="wrong", code=1
    )
    docker("login", "--username", user, "--password-stdin", host, stdin=password(hosts, path, principals.OWNER))
    docker("push", name)
    docker("rmi", name)
    docker("pull", name)
    assert docker("image", "inspect", "--format", "{{.Id}}", name) == image
    found = registry.resolve(hosts.twin, name)
    assert found
    by_digest = f"{host}/kit/small@{found.digest}"
    assert docker("image", "inspect", "--format", "{{index .RepoDigests 0}}", name) == by_digest
    docker("logout", host)
    assert "unauthorized" in docker("pull", name, code=1)

    puller = hosts.principal("puller", AcrPull=path)
    docker("login", "--username", user, "--password-stdin", host, stdin=password(hosts, path, puller))
    docker("pull", name)
    docker("tag", name, f"{host}/kit/other:v1")
    assert "requested access to the resource is denied" in docker("push", f"{host}/kit/other:v1", code=1)

    docker("logout", host)
    platform = f"{found.pull_name}@{found.digest}"
    docker("pull", platform)
    docker("rmi", platform)
