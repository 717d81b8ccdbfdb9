"""The registry behind ECR, by HTTP as a client of images speaks it. Docker itself: tests/containers."""

import base64
import hashlib
import http.client
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from botocore.exceptions import ClientError

from llmops_twins.aws.registry import registry
from llmops_twins.aws.twin import AccountTwin
from llmops_twins.core import web_identity
from llmops_twins.core.state_log import STATE_FILE
from tests.support.clouds.twin_keys import root_keys
from twins.tests.emulated.aws.services.waiting import eventually
from twins.tests.support.aws import REGION, RunningTwin, made_role, session

pytestmark = pytest.mark.skipif(not shutil.which("docker-registry"), reason="no docker-registry on this machine")
DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
OCI = "application/vnd.oci.image.manifest.v1+json"
ARN = "arn:aws:ecr:us-east-1:000000000000:repository"
PUSHING = ("InitiateLayerUpload", "UploadLayerPart", "CompleteLayerUpload", "PutImage", "BatchCheckLayerAvailability")
PULLING = ("BatchGetImage", "GetDownloadUrlForLayer")


@dataclass
class Answer:
    """What the registry said."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def error(self) -> tuple[str, str]:
        """Code and message of a refusal."""
        (found,) = json.loads(self.body)["errors"]
        return found["code"], found["message"]


@dataclass
class Client:
    """Somebody with a password, or nobody."""

    twin: RunningTwin
    password: str = ""
    host: str = "127.0.0.1"

    def ask(self, method: str, path: str, body: bytes | Iterable[bytes] | None = None, **headers: str) -> Answer:
        sent = {"Content-Type": headers.pop("type")} if "type" in headers else {}
        sent["Host"] = f"{self.host}:{self.twin.info.port}"
        if self.password:
            sent["Authorization"] = "Basic " + base64.b64encode(f"AWS:{self.password}".encode()).decode()
        with closing(http.client.HTTPConnection("127.0.0.1", self.twin.info.port)) as connection:
            connection.request(method, f"/v2/{path}", body, sent)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())

    def upload(self, repository: str, content: bytes) -> tuple[Answer, str]:
        """A layer in pieces, as Docker does it: the first refusal or the last answer, and the digest."""
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        if (begun := self.ask("POST", f"{repository}/blobs/uploads/", b"")).status != 202:
            return begun, digest
        place = begun.headers["Location"].partition("/v2/")[2]
        halves = (content[: len(content) // 2], content[len(content) // 2 :])
        if (sent := self.ask("PATCH", place, iter(halves))).status != 202:
            return sent, digest
        place = sent.headers["Location"].partition("/v2/")[2]
        return self.ask("PUT", f"{place}&digest={digest}", b""), digest

    def push(self, repository: str, tag: str, content: bytes = b"layer", media_type: str = DOCKER) -> Answer:
        """An image of one layer: the first refusal or the last answer."""
        answer, layer = self.upload(repository, content)
        if answer.status != 201:
            return answer
        document = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [layer]}}
        answer, config = self.upload(repository, json.dumps(document).encode())
        if answer.status != 201:
            return answer
        kind = "vnd.oci.image" if media_type == OCI else "vnd.docker.container.image"
        layers = [{"mediaType": "application/octet-stream", "size": len(content), "digest": layer}]
        size = len(json.dumps(document))
        manifest: dict[str, Any] = {"schemaVersion": 2, "mediaType": media_type, "layers": layers}
        manifest["config"] = {"mediaType": f"application/{kind}.config.v1+json", "size": size, "digest": config}
        return self.ask("PUT", f"{repository}/manifests/{tag}", json.dumps(manifest).encode(), type=media_type)


def password(ecr: Any) -> str:
    (data,) = ecr.get_authorization_token()["authorizationData"]
    assert data["proxyEndpoint"].startswith("http://127.0.0.1:")
    return base64.b64decode(data["authorizationToken"]).decode().removeprefix("AWS:")


@pytest.fixture(scope="module")
def twin(borrow: Callable[..., RunningTwin]) -> RunningTwin:
    return borrow(judge="strict")


@pytest.fixture
def root(twin: RunningTwin) -> Client:
    return Client(twin, password(twin.client("ecr")))


@pytest.fixture
def repository(twin: RunningTwin, request: pytest.FixtureRequest) -> str:
    name = f"kit/{request.node.name.partition('[')[0]}"
    twin.client("ecr").create_repository(repositoryName=name, imageTagMutability="IMMUTABLE")
    return name


def made_user(twin: RunningTwin, name: str, actions: Iterable[str]) -> Any:
    """A client of ECR by a user who may do these actions, and log in."""
    iam = twin.client("iam")
    iam.create_user(UserName=name)
    statements = [
        {"Effect": "Allow", "Action": "ecr:GetAuthorizationToken", "Resource": "*"},
        {"Effect": "Allow", "Action": [f"ecr:{action}" for action in actions], "Resource": f"{ARN}/kit/*"},
    ]
    document = json.dumps({"Version": "2012-10-17", "Statement": statements})
    iam.put_user_policy(UserName=name, PolicyName="images", PolicyDocument=document)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return twin.client("ecr", key["AccessKeyId"], key["SecretAccessKey"])


def test_what_was_pushed_is_pulled_and_ecr_knows_it(twin: RunningTwin, root: Client, repository: str) -> None:
    content, ecr = os.urandom(3 << 20), twin.client("ecr")
    pushed = root.push(repository, "v1", content)
    digest = pushed.headers["Docker-Content-Digest"]
    assert pushed.status == 201
    for reference in ("v1", digest):
        found = root.ask("GET", f"{repository}/manifests/{reference}")
        assert (found.status, found.headers["Content-Type"]) == (200, DOCKER)
        assert f"sha256:{hashlib.sha256(found.body).hexdigest()}" == digest
    manifest = json.loads(found.body)
    layer = manifest["layers"][0]["digest"]
    assert root.ask("GET", f"{repository}/blobs/{layer}").body == content
    assert root.ask("HEAD", f"{repository}/blobs/{layer}").headers["Content-Length"] == str(len(content))
    assert json.loads(root.ask("GET", f"{repository}/tags/list").body) == {"name": repository, "tags": ["v1"]}

    (image,) = ecr.describe_images(repositoryName=repository)["imageDetails"]
    size = manifest["config"]["size"] + len(content)
    assert (image["imageDigest"], image["imageTags"]) == (digest, ["v1"])
    assert (image["imageManifestMediaType"], image["imageSizeInBytes"]) == (DOCKER, size)
    (image,) = ecr.batch_get_image(repositoryName=repository, imageIds=[{"imageTag": "v1"}])["images"]
    assert json.loads(image["imageManifest"]) == manifest
    (available,) = ecr.batch_check_layer_availability(repositoryName=repository, layerDigests=[layer])["layers"]
    assert (available["layerAvailability"], available["layerSize"]) == ("AVAILABLE", len(content))


def test_an_image_without_a_tag_is_known_by_its_digest(twin: RunningTwin, root: Client, repository: str) -> None:
    ecr = twin.client("ecr")
    root.push(repository, "v1")
    body = json.dumps({**json.loads(root.ask("GET", f"{repository}/manifests/v1").body), "annotations": {}}).encode()
    digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
    other = f"sha256:{'0' * 64}"
    assert root.ask("PUT", f"{repository}/manifests/{other}", body, type=DOCKER).error[0] == "DIGEST_INVALID"
    for _ in range(2):
        assert root.ask("PUT", f"{repository}/manifests/{digest}", body, type=DOCKER).status == 201
    (found,) = ecr.list_images(repositoryName=repository, filter={"tagStatus": "UNTAGGED"})["imageIds"]
    assert found == {"imageDigest": digest}
    assert root.ask("PUT", f"{repository}/manifests/v2", body, type=DOCKER).status == 201
    assert root.ask("PUT", f"{repository}/manifests/{digest}", body, type=DOCKER).status == 201
    (image,) = ecr.describe_images(repositoryName=repository, imageIds=[found])["imageDetails"]
    assert image["imageTags"] == ["v2"]


def test_a_manifest_that_names_no_media_type_is_of_the_requests(
    twin: RunningTwin, root: Client, repository: str
) -> None:
    root.push(repository, "v1")
    manifest = json.loads(root.ask("GET", f"{repository}/manifests/v1").body)
    del manifest["mediaType"]
    manifest["config"]["mediaType"] = "application/vnd.oci.image.config.v1+json"
    assert root.ask("PUT", f"{repository}/manifests/v2", json.dumps(manifest).encode(), type=OCI).status == 201
    found = twin.client("ecr").describe_images(repositoryName=repository, imageIds=[{"imageTag": "v2"}])["imageDetails"]
    assert [image["imageManifestMediaType"] for image in found] == [OCI]


def test_a_tag_that_may_not_move_stays(root: Client, repository: str) -> None:
    first = root.push(repository, "v1", b"first").headers["Docker-Content-Digest"]
    for content in (b"second", b"first"):  # ECR refuses the same image too
        answer = root.push(repository, "v1", content)
        words = f"The image tag 'v1' already exists in the '{repository}' repository and cannot be overwritten because the tag is immutable."  # fmt: skip # noqa: E501
        assert (answer.status, answer.error) == (400, ("TAG_INVALID", words))
    assert root.push(repository, "v2", b"first").headers["Docker-Content-Digest"] == first
    assert root.ask("HEAD", f"{repository}/manifests/v1").headers["Docker-Content-Digest"] == first


def test_what_is_not_there_or_not_ecrs_is_refused(root: Client, repository: str) -> None:
    answer = root.push("kit/nowhere", "v1")
    words = "The repository with name 'kit/nowhere' does not exist in the registry with id '000000000000'"
    assert (answer.status, answer.error) == (404, ("NAME_UNKNOWN", words))
    assert root.ask("GET", f"{repository}/manifests/v1").error == ("MANIFEST_UNKNOWN", "Requested image not found")
    for method, path in (("DELETE", f"{repository}/manifests/v1"), ("GET", "_catalog")):
        assert root.ask(method, path).status == 405
    old = "application/vnd.docker.distribution.manifest.v1+prettyjws"
    assert root.push(repository, "v1", media_type=old).error[0] == "MANIFEST_INVALID"
    assert json.loads(root.ask("GET", f"{repository}/tags/list").body)["tags"] == []


def test_only_a_token_of_ecr_opens_it(twin: RunningTwin, root: Client, repository: str) -> None:
    head, text, signature = root.password.split(".")
    document = json.loads(base64.urlsafe_b64decode(text + "==="))
    assert 11.9 * 3600 < document["exp"] - twin.info.started < 13 * 3600
    of_another_purpose = web_identity.issue(twin.home, document)
    document["principal"] = "arn:aws:iam::000000000000:user/other"
    forged = f"{head}.{base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip('=')}.{signature}"
    for wrong in ("", "password", forged, of_another_purpose):
        for path in ("", f"{repository}/manifests/v1"):
            answer = Client(twin, wrong).ask("GET", path)
            assert answer.status == 401
            assert answer.headers["WWW-Authenticate"].startswith(f'Basic realm="{twin.info.url}/"')
    assert root.ask("GET", "").status == 200


@pytest.mark.parametrize("missing", [*PUSHING[:-1], *PULLING])
def test_each_request_is_judged_as_the_action_of_ecr(twin: RunningTwin, root: Client, missing: str) -> None:
    name = f"kit/without-{missing.lower()}"
    twin.client("ecr").create_repository(repositoryName=name)
    digest = root.push(name, "v0", b"layer").headers["Docker-Content-Digest"]
    user = Client(twin, password(made_user(twin, missing, {*PUSHING, *PULLING} - {missing})))
    layer = f"sha256:{hashlib.sha256(b'layer').hexdigest()}"
    answers = [
        user.push(name, "v1"),
        user.ask("GET", f"{name}/manifests/{digest}"),
        user.ask("GET", f"{name}/blobs/{layer}"),
    ]
    refused = [answer for answer in answers if answer.status >= 400]
    assert [answer.status for answer in refused] == [403]
    code, words = refused[0].error
    assert code == "DENIED"
    assert f"user/{missing} is not authorized to perform: ecr:{missing} on resource: {ARN}/{name}" in words


def test_its_requests_meet_the_faults_of_ecrs_actions(twin: RunningTwin, root: Client, repository: str) -> None:
    twin.fault("throttle", service="ecr", operation="PutImage", times=1)
    answer = root.push(repository, "v1")
    assert (answer.status, answer.error) == (429, ("TOOMANYREQUESTS", "Rate exceeded"))
    twin.fault("error", service="ecr", operation="InitiateLayerUpload", times=1)
    assert root.push(repository, "v1").status == 500
    assert root.push(repository, "v1").status == 201


def test_deletes_by_ecr_reach_the_registry(twin: RunningTwin, root: Client, repository: str) -> None:
    ecr = twin.client("ecr")
    digest = root.push(repository, "v1").headers["Docker-Content-Digest"]
    root.push(repository, "v2")
    stored = twin.home / "registry/data/docker/registry/v2/repositories" / REGION / repository / "_manifests/revisions"
    ecr.batch_delete_image(repositoryName=repository, imageIds=[{"imageTag": "v1"}])
    assert root.ask("GET", f"{repository}/manifests/v1").status == 404
    assert root.ask("GET", f"{repository}/manifests/{digest}").status == 200
    ecr.batch_delete_image(repositoryName=repository, imageIds=[{"imageDigest": digest}])
    assert root.ask("GET", f"{repository}/manifests/{digest}").status == 404
    assert list(stored.rglob("link")) == []
    root.push(repository, "v1")
    ecr.delete_repository(repositoryName=repository, force=True)
    ecr.create_repository(repositoryName=repository)
    assert root.ask("GET", f"{repository}/manifests/{digest}").status == 404
    assert root.push(repository, "v1").status == 201


def test_a_token_is_of_one_region(twin: RunningTwin, root: Client) -> None:
    with twin_client(twin, "eu-central-1") as ecr:
        ecr.create_repository(repositoryName="kit/regions")
        assert root.push("kit/regions", "v1").status == 404
        assert Client(twin, password(ecr)).push("kit/regions", "v1").status == 201


def twin_client(twin: RunningTwin, region: str) -> Any:
    return closing(session(region).client("ecr", endpoint_url=twin.info.url, **root_keys(twin.home)))


def test_sagemaker_takes_dockers_manifests_alone(twin: RunningTwin, root: Client, repository: str) -> None:
    role, sagemaker = made_role(twin, "images"), twin.client("sagemaker")
    for tag, media_type in (("docker", DOCKER), ("oci", OCI)):
        digest = root.push(repository, tag, media_type=media_type).headers["Docker-Content-Digest"]
        image = f"000000000000.dkr.ecr.us-east-1.amazonaws.com/{repository}@{digest}"
        model = {"ModelName": tag, "ExecutionRoleArn": role, "PrimaryContainer": {"Image": image}}
        if media_type == DOCKER:
            sagemaker.create_model(**model)
            continue
        with pytest.raises(ClientError, match=r"Unsupported manifest media type application/vnd\.oci\.image"):
            sagemaker.create_model(**model)


def test_the_platform_pulls_by_a_name_that_nobody_can_guess(twin: RunningTwin, root: Client, repository: str) -> None:
    root.push(repository, "v1")
    inside = AccountTwin(twin.home)
    inside.describe = lambda: {"port": twin.info.port}
    host, _, name = registry.pull_name(inside, repository, REGION).partition("/")
    assert host == f"localhost:{twin.info.port}"
    platform = Client(twin, host="localhost")
    assert platform.ask("GET", "").status == 200
    assert platform.ask("GET", f"{name}/manifests/v1").status == 200
    assert platform.ask("GET", f"{name.replace('twin-', 'twin-0')}/manifests/v1").status == 401
    assert platform.ask("POST", f"{name}/blobs/uploads/", b"").status == 401
    assert Client(twin).ask("GET", f"{name}/manifests/v1").status == 401


def test_layers_are_not_held_in_memory(twin: RunningTwin, root: Client, repository: str) -> None:
    def most() -> int:
        lines = Path(f"/proc/{twin.info.pids['twin']}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))

    root.push(repository, "small")
    before, megabytes, piece = most(), 160, bytes(1 << 20)
    digest = hashlib.sha256(piece * megabytes).hexdigest()
    place = root.ask("POST", f"{repository}/blobs/uploads/", b"").headers["Location"].partition("/v2/")[2]
    sent = root.ask("PATCH", place, (piece for _ in range(megabytes)))
    place = sent.headers["Location"].partition("/v2/")[2]
    assert root.ask("PUT", f"{place}&digest=sha256:{digest}", b"").status == 201
    assert len(root.ask("GET", f"{repository}/blobs/sha256:{digest}").body) == megabytes << 20
    assert most() - before < megabytes * 1024 / 4


def test_images_outlive_the_twins_process_and_not_a_reset(start: Callable[..., RunningTwin]) -> None:
    twin = start()
    twin.client("ecr").create_repository(repositoryName="kit/kept")
    root = Client(twin, password(twin.client("ecr")))
    assert root.push("kit/kept", "v1").status == 201
    children = psutil.Process(twin.info.pids["twin"]).children()
    (program,) = [child for child in children if child.name() == "docker-registry"]
    eventually(lambda: b"schemaVersion" in (twin.home / STATE_FILE).read_bytes())
    os.kill(twin.info.pids["twin"], signal.SIGKILL)
    eventually(lambda: not program.is_running() or program.status() == psutil.STATUS_ZOMBIE)
    again = Client(start(twin.home), root.password)
    assert again.ask("GET", "kit/kept/manifests/v1").status == 200
    again.twin.ask("POST", "reset")
    assert again.ask("GET", "kit/kept/manifests/v1").status == 404
    assert not (twin.home / "registry/data").exists()
