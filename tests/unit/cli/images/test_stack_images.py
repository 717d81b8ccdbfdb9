"""Which images a stack takes, and what they are called in a registry."""

import hashlib
import json
import os
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from llmops_kit.cli.images.stack_images import build_for, push_for, tag_of
from llmops_kit.cli.interfaces.docker_push import Login
from llmops_kit.cli.stacks.project import Project
from llmops_kit.cli.stacks.stack import PulumiStack
from llmops_kit.core.errors import KitError, UnsupportedError
from llmops_kit.local_runtime import containers
from llmops_kit.local_runtime import process_images as images
from tests.support.servers.http_servers import serving


def stack_of(folder: Path, target: str) -> PulumiStack:
    (folder / "Pulumi.yaml").write_text("name: llmops\nruntime: python\n")
    (folder / "Pulumi.dev.yaml").write_text(f"config:\n  llmops:target: {target}\n")
    return PulumiStack(Project(folder), "dev")


def test_a_tag_is_the_version_and_the_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(containers.BASE_VARIABLE, raising=False)
    monkeypatch.setattr("llmops_kit.cli.images.stack_images.__version__", "1.2.3+own")
    tag = tag_of("serving")
    assert tag == f"1.2.3_own-{images.reference('serving').rpartition(':')[2][:20]}"
    assert tag_of("training") != tag
    monkeypatch.setenv(containers.BASE_VARIABLE, "registry.company/python:3.11")
    assert tag_of("serving").startswith(f"{tag}-")


def test_a_cloud_takes_no_process_and_a_local_stack_no_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    cloud = stack_of(tmp_path, "aws")
    with pytest.raises(KitError, match="a cloud can't run images of runtime") as refused:
        build_for(cloud, print, runtime="process")
    assert "images push" in refused.value.fix
    local = stack_of(tmp_path, "local")
    for command in (build_for, push_for):
        with pytest.raises(UnsupportedError):
            command(local, print)


def test_without_docker_the_way_out_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(KitError, match="docker is not on PATH") as refused:
        build_for(stack_of(tmp_path, "aws"), print)
    assert "--runtime process" in refused.value.fix


class OciServer(ThreadingHTTPServer):
    """A registry that knows the referrers API, as ECR and Azure's do; what was attached to it, and its blobs."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), OciHandler)
        self.attached: dict[str, list[dict[str, Any]]] = {}
        self.blobs: dict[str, bytes] = {}


class OciHandler(BaseHTTPRequestHandler):
    server: OciServer  # pyright: ignore[reportIncompatibleVariableOverride]

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base's name)
        pass

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self) -> None:
        kind, digest = self.path.partition("?")[0].split("/")[-2:]
        if kind == "referrers":
            self.answer(200, json.dumps({"manifests": self.server.attached.get(digest, [])}).encode())
        else:
            self.answer(200, b"{}", Content_Type="application/vnd.docker.distribution.manifest.v2+json")

    def do_HEAD(self) -> None:
        self.answer(404)

    def do_POST(self) -> None:
        self.answer(202, Location=f"{self.path}one?state=1")

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        if "/blobs/" in self.path:
            assert self.path.endswith(f"?state=1&digest={digest.replace(':', '%3A')}")
            self.server.blobs[digest] = body
            self.answer(201)
            return
        manifest = json.loads(body)
        subject = manifest["subject"]["digest"]
        entry = {"digest": digest, "artifactType": manifest["artifactType"], "layers": manifest["layers"]}
        self.server.attached.setdefault(subject, []).append(entry)
        self.answer(201, OCI_Subject=subject)


@pytest.fixture
def server() -> Iterator[OciServer]:
    with serving(OciServer()) as made:
        yield made


class Registry:
    """Repositories that have what was given, and what was pushed meanwhile."""

    def __init__(self, server: OciServer, **images: str) -> None:
        self.server = server
        self.images = images

    def url(self, image: str) -> str:
        return f"registry/{image}"

    def find(self, image: str, tag: str) -> str:
        assert tag in {tag_of(name) for name in (image, "serving-vllm")}
        return self.images.get(image, "")

    def login(self, image: str) -> Login:
        self.images.setdefault(image, "sha256:new")  # who logs in where nothing is, pushes
        return Login(f"127.0.0.1:{self.server.server_port}", "AWS", "password")


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PulumiStack:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.delenv(containers.BASE_VARIABLE, raising=False)
    return stack_of(tmp_path, "aws")


def has_image(monkeypatch: pytest.MonkeyPatch, folder: Path, **document: Any) -> Path:
    """A script for Docker's client, which has each image, and remembers what it was asked."""
    folder.mkdir()
    inspected = json.dumps({"Id": "sha256:id", "Os": "linux", "Architecture": "amd64", **document})
    (folder / "docker").write_text(f"#!/bin/bash\necho \"$@\" >>{folder}/log\necho '{inspected}'\n")
    (folder / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder / "log"


def test_what_is_in_the_registry_is_not_pushed_again(
    cloud: PulumiStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: OciServer
) -> None:
    monkeypatch.setattr(
        "llmops_kit.cli.platforms.registry.image_registry", lambda _: Registry(server, training="sha256:old")
    )
    log = has_image(monkeypatch, tmp_path / "bin")
    assert push_for(cloud, print, names=["training"]) == {"training": "registry/training@sha256:old"}
    assert not log.exists()
    assert push_for(cloud, print) == {
        "training": "registry/training@sha256:old",
        "serving": "registry/serving@sha256:new",
    }
    assert f"push 127.0.0.1:{server.server_port}/serving:{tag_of('serving')}" in log.read_text()


def test_images_of_one_package_share_its_repository(
    cloud: PulumiStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: OciServer
) -> None:
    monkeypatch.setattr("llmops_kit.cli.platforms.registry.image_registry", lambda _: Registry(server))
    log = has_image(monkeypatch, tmp_path / "bin")
    assert push_for(cloud, print, names=["serving-vllm"]) == {"serving-vllm": "registry/serving@sha256:new"}
    assert f"push 127.0.0.1:{server.server_port}/serving:{tag_of('serving-vllm')}" in log.read_text()
    assert tag_of("serving-vllm") != tag_of("serving")
    (entry,) = server.attached["sha256:new"]
    document = json.loads(server.blobs[entry["layers"][0]["digest"]])
    assert "vllm" in {component["name"] for component in document["components"]}


@pytest.mark.scorecard("sbom")
def test_an_sbom_is_attached_to_what_is_pushed_once(
    cloud: PulumiStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: OciServer
) -> None:
    monkeypatch.setattr(
        "llmops_kit.cli.platforms.registry.image_registry", lambda _: Registry(server, training="sha256:old")
    )
    has_image(monkeypatch, tmp_path / "bin")
    said: list[str] = []
    for _ in range(2):
        push_for(cloud, said.append)
    assert len([line for line in said if "its SBOM is attached" in line]) == 2
    assert {digest: len(entries) for digest, entries in server.attached.items()} == {"sha256:old": 1, "sha256:new": 1}
    (entry,) = server.attached["sha256:new"]
    assert entry["artifactType"] == "application/vnd.cyclonedx+json"
    document = json.loads(server.blobs[entry["layers"][0]["digest"]])
    assert document["metadata"]["component"]["name"] == "llmops-serving"
    assert {"openvino-genai", "python", "llmops-kit"} <= {component["name"] for component in document["components"]}


@pytest.mark.scorecard("sbom")
def test_a_built_image_has_its_sbom_beside_it(
    cloud: PulumiStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMOPS_CACHE", str(tmp_path / "cache"))
    has_image(monkeypatch, tmp_path / "bin")
    said: list[str] = []
    build_for(cloud, said.append, names=["serving"])
    (path,) = (tmp_path / "cache" / "images").rglob("*.cdx.json")
    assert any(str(path) in line for line in said)
    assert json.loads(path.read_text())["bomFormat"] == "CycloneDX"


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"Architecture": "arm64"}, "is for linux/arm64, and clouds run only linux/amd64"),
        ({"Descriptor": {"mediaType": "application/vnd.oci.image.index.v1+json"}}, "SageMaker's hosting refuses"),
    ],
)
def test_what_sagemaker_would_refuse_is_not_pushed(
    cloud: PulumiStack,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    server: OciServer,
    document: dict[str, Any],
    words: str,
) -> None:
    monkeypatch.setattr("llmops_kit.cli.platforms.registry.image_registry", lambda _: Registry(server))
    log = has_image(monkeypatch, tmp_path / "bin", **document)
    with pytest.raises(KitError, match=words) as refused:
        push_for(cloud, print, names=["serving"])
    assert "docker rmi" in refused.value.fix
    assert "push" not in log.read_text()
