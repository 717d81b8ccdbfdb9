"""A container registry of a twin, by HTTP as a client of images speaks it. Docker itself: tests/containers."""

import base64
import hashlib
import http.client
import json
import shutil
import urllib.parse
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest

from llmops_twins.azure.entra import principals, tokens
from llmops_twins.azure.protocol.calls import Principal
from llmops_twins.azure.registry import registry
from llmops_twins.azure.registry import tokens as registry_tokens
from llmops_twins.core import root
from twins.tests.support.azure_hosts import LOCATION, Hosts, running_hosts

pytestmark = pytest.mark.skipif(not shutil.which("docker-registry"), reason="no docker-registry on this machine")
VERSION = "2023-07-01"
DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
OCI = "application/vnd.oci.image.manifest.v1+json"


@dataclass
class Client:
    """Somebody who speaks with one registry."""

    hosts: Hosts
    server: str
    host: str = ""

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        with closing(http.client.HTTPConnection("127.0.0.1", int(self.server.rpartition(":")[2]))) as connection:
            connection.request(method, path, body, {"Host": self.host or self.server, **(headers or {})})
            answer = connection.getresponse()
            return answer.status, dict(answer.headers), answer.read()

    def form(self, path: str, **fields: str) -> tuple[int, Any]:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        status, _, body = self.ask("POST", path, urllib.parse.urlencode(fields), headers)
        return status, json.loads(body)

    def refresh_token(self, caller: Principal) -> str:
        token = tokens.issue(self.hosts.twin, caller, tokens.MANAGEMENT[0])
        fields = {"grant_type": "access_token", "service": self.server, "access_token": token}
        status, body = self.form("/oauth2/exchange", **fields)
        assert status == 200, body
        return body["refresh_token"]

    def bearer(self, caller: Principal, scope: str) -> dict[str, str]:
        fields = {"grant_type": "refresh_token", "service": self.server, "scope": scope}
        status, body = self.form("/oauth2/token", refresh_token=self.refresh_token(caller), **fields)
        assert status == 200, body
        return {"Authorization": f"Bearer {body['access_token']}"}

    def upload(self, name: str, content: bytes, headers: dict[str, str]) -> tuple[int, str]:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        status, answer, _ = self.ask("POST", f"/v2/{name}/blobs/uploads/", b"", headers)
        if status != 202:
            return status, digest
        status, answer, _ = self.ask("PATCH", answer["Location"], content, headers)
        assert status == 202
        return self.ask("PUT", f"{answer['Location']}&digest={digest}", b"", headers)[0], digest

    def push(self, name: str, tag: str, headers: dict[str, str]) -> tuple[int, str]:
        """The first refusal's or the last status, and the manifest's digest."""
        status, layer = self.upload(name, b"layer", headers)
        if status != 201:
            return status, ""
        document = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}})
        _, config = self.upload(name, document.encode(), headers)
        manifest = {
            "schemaVersion": 2,
            "mediaType": DOCKER,
            "config": {"mediaType": "application/json", "size": len(document), "digest": config},
            "layers": [{"mediaType": "application/octet-stream", "size": 5, "digest": layer}],
        }
        text = json.dumps(manifest).encode()
        status, _, _ = self.ask("PUT", f"/v2/{name}/manifests/{tag}", text, {**headers, "Content-Type": DOCKER})
        return status, f"sha256:{hashlib.sha256(text).hexdigest()}"


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    with running_hosts(tmp_path_factory.mktemp("twin")) as made:
        yield made


def made(hosts: Hosts, name: str) -> tuple[str, Client]:
    """A registry's id, and a client of it."""
    path = f"{hosts.arm.group()}/providers/Microsoft.ContainerRegistry/registries/{name}"
    assert hosts.arm.put(path, VERSION, {"location": LOCATION, "sku": {"name": "Basic"}}).status in (200, 201)
    return path, Client(hosts, hosts.arm.get(path, VERSION).body["properties"]["loginServer"])


def test_an_image_is_pushed_pulled_listed_and_deleted(hosts: Hosts) -> None:
    _, client = made(hosts, "kitimages")
    owner = client.bearer(principals.OWNER, "repository:kit/serving:pull,push,delete,metadata_read")
    status, digest = client.push("kit/serving", "v1", owner)
    assert status == 201
    assert client.ask("GET", "/v2/kit/serving/manifests/v1", headers=owner)[1]["Docker-Content-Digest"] == digest
    assert json.loads(client.ask("GET", "/v2/kit/serving/tags/list", headers=owner)[2])["tags"] == ["v1"]
    found = registry.resolve(hosts.twin, f"{client.server}/kit/serving:v1")
    assert found
    assert found.digest == digest
    assert found == registry.resolve(hosts.twin, f"{client.server}/kit/serving@{digest}")
    assert client.ask("DELETE", f"/v2/kit/serving/manifests/{digest}", headers=owner)[0] == 202
    assert client.ask("GET", "/v2/kit/serving/manifests/v1", headers=owner)[0] == 404
    assert registry.resolve(hosts.twin, f"{client.server}/kit/serving:v1") is None


def test_a_manifest_that_names_no_media_type_is_of_the_requests(hosts: Hosts) -> None:
    _, client = made(hosts, "kituntyped")
    owner = client.bearer(principals.OWNER, "repository:kit/serving:pull,push,delete,metadata_read")
    client.push("kit/serving", "v1", owner)
    manifest = json.loads(client.ask("GET", "/v2/kit/serving/manifests/v1", headers={**owner, "Accept": DOCKER})[2])
    del manifest["mediaType"]
    manifest["config"]["mediaType"] = "application/vnd.oci.image.config.v1+json"
    text = json.dumps(manifest).encode()
    assert client.ask("PUT", "/v2/kit/serving/manifests/v2", text, {**owner, "Content-Type": OCI})[0] == 201


def test_who_says_nothing_is_told_where_a_token_is(hosts: Hosts) -> None:
    _, client = made(hosts, "kitimages")
    status, headers, _ = client.ask("GET", "/v2/")
    assert status == 401
    place = f'Bearer realm="http://{client.server}/oauth2/token",service="{client.server}"'
    assert headers["WWW-Authenticate"] == place
    status, headers, _ = client.ask("GET", "/v2/kit/serving/manifests/v1")
    assert (status, headers["WWW-Authenticate"]) == (401, f'{place},scope="repository:kit/serving:pull"')
    assert client.form("/oauth2/exchange", grant_type="access_token", access_token="wrong")[0] == 401
    assert client.form("/oauth2/token", grant_type="refresh_token", refresh_token="wrong")[0] == 401


def test_roles_say_who_pulls_and_who_pushes(hosts: Hosts) -> None:
    path, client = made(hosts, "kitroles")
    pusher, puller = hosts.principal("pusher", AcrPush=path), hosts.principal("puller", AcrPull=path)
    nobody = hosts.principal("nobody")
    asked = "repository:kit/serving:pull,push"
    assert client.push("kit/serving", "v1", client.bearer(pusher, asked))[0] == 201
    pulling = client.bearer(puller, asked)
    assert client.ask("GET", "/v2/kit/serving/manifests/v1", headers=pulling)[0] == 200
    status, headers, body = client.ask("POST", "/v2/kit/serving/blobs/uploads/", b"", pulling)
    assert status == 401
    assert 'error="insufficient_scope"' in headers["WWW-Authenticate"]
    assert json.loads(body)["errors"][0]["code"] == "DENIED"
    assert client.ask("GET", "/v2/kit/serving/manifests/v1", headers=client.bearer(nobody, asked))[0] == 401
    action = "Microsoft.ContainerRegistry/registries/push/write"
    assert [puller.object_id, action, path, False] in hosts.twin.state["recorded"]
    assert [pusher.object_id, action, path, True] in hosts.twin.state["recorded"]


def test_docker_logs_in_by_a_refresh_token_or_a_secret(hosts: Hosts) -> None:
    _, client = made(hosts, "kitimages")

    def login(user: str, password: str) -> int:
        basic = base64.b64encode(f"{user}:{password}".encode()).decode()
        path = f"/oauth2/token?account={user}&client_id=docker&offline_token=true&service={client.server}"
        return client.ask("GET", path, headers={"Authorization": f"Basic {basic}"})[0]

    assert login(registry_tokens.TOKEN_USER, client.refresh_token(principals.OWNER)) == 200
    assert login(principals.OWNER_APP, root.key(hosts.twin.home, principals.OWNER_PURPOSE)) == 200
    assert login(principals.OWNER_APP, "wrong") == 401
    assert login(registry_tokens.TOKEN_USER, "wrong") == 401


def test_a_token_of_one_registry_is_for_that_registry(hosts: Hosts) -> None:
    _, one = made(hosts, "kitimages")
    _, other = made(hosts, "kitother")
    assert one.server != other.server
    refresh = one.refresh_token(principals.OWNER)
    assert other.form("/oauth2/token", grant_type="refresh_token", refresh_token=refresh)[0] == 401


def test_the_platform_pulls_by_a_name_that_is_the_permission(hosts: Hosts) -> None:
    _, client = made(hosts, "kitimages")
    owner = client.bearer(principals.OWNER, "repository:kit/job:pull,push")
    client.push("kit/job", "v1", owner)
    found = registry.resolve(hosts.twin, f"{client.server}/kit/job:v1")
    assert found
    host, _, name = found.pull_name.partition("/")
    platform = Client(hosts, client.server, host)
    assert platform.ask("GET", "/v2/")[0] == 200
    assert platform.ask("GET", f"/v2/{name}/manifests/{found.digest}")[0] == 200
    assert platform.ask("GET", f"/v2/kit/job/manifests/{found.digest}")[0] == 401
    assert platform.ask("POST", f"/v2/{name}/blobs/uploads/", b"")[0] == 401
    assert client.ask("GET", f"/v2/{name}/manifests/{found.digest}")[0] == 401


def test_a_deleted_registry_has_nothing_when_it_is_made_again(hosts: Hosts) -> None:
    path, client = made(hosts, "kitgone")
    owner = client.bearer(principals.OWNER, "repository:kit/a:pull,push")
    client.push("kit/a", "v1", owner)
    hosts.arm.delete(path, VERSION)
    hosts.arm.pass_time()
    assert registry.resolve(hosts.twin, f"{client.server}/kit/a:v1") is None
    _, again = made(hosts, "kitgone")
    assert registry.resolve(hosts.twin, f"{again.server}/kit/a:v1") is None
