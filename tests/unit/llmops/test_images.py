"""Which images a stack takes, and what they are called in a registry."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from contract.errors import KitError
from hosting import containers, images
from llmops.docker_push import Login
from llmops.images import build_for, push_for, tag_of
from llmops.project import Project
from llmops.stacks import PulumiStack


def stack_of(folder: Path, target: str) -> PulumiStack:
    (folder / "Pulumi.yaml").write_text("name: llmops\nruntime: python\n")
    (folder / "Pulumi.dev.yaml").write_text(f"config:\n  llmops:target: {target}\n")
    return PulumiStack(Project(folder), "dev")


def test_a_tag_is_the_version_and_the_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(containers.BASE_VARIABLE, raising=False)
    monkeypatch.setattr("llmops.images.__version__", "1.2.3+own")
    tag = tag_of("serving")
    assert tag == f"1.2.3_own-{images.reference('serving').rpartition(':')[2][:20]}"
    assert tag_of("training") != tag
    monkeypatch.setenv(containers.BASE_VARIABLE, "registry.company/python:3.11")
    assert tag_of("serving").startswith(f"{tag}-")


def test_a_cloud_takes_no_process_and_a_local_stack_no_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    cloud = stack_of(tmp_path, "aws")
    with pytest.raises(KitError, match="a cloud runs no processes") as refused:
        build_for(cloud, print, runtime="process")
    assert "images push" in refused.value.fix
    local = stack_of(tmp_path, "local")
    for command in (build_for, push_for):
        with pytest.raises(KitError, match="it builds them itself"):
            command(local, print)


def test_without_docker_the_way_out_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(KitError, match="docker is not on PATH") as refused:
        build_for(stack_of(tmp_path, "aws"), print)
    assert "--runtime process" in refused.value.fix


class Registry:
    """Repositories that have what was given, and what was pushed meanwhile."""

    def __init__(self, **images: str) -> None:
        self.images = images

    def url(self, image: str) -> str:
        return f"registry/{image}"

    def find(self, image: str, tag: str) -> str:
        assert tag == tag_of(image)
        return self.images.get(image, "")

    def login(self, image: str) -> Login:
        self.images[image] = "sha256:new"  # who logs in, pushes
        return Login("registry", "AWS", "password")


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
    cloud: PulumiStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmops.platforms.registry.image_registry", lambda _: Registry(training="sha256:old"))
    log = has_image(monkeypatch, tmp_path / "bin")
    assert push_for(cloud, print, names=["training"]) == {"training": "registry/training@sha256:old"}
    assert not log.exists()
    assert push_for(cloud, print) == {
        "training": "registry/training@sha256:old",
        "serving": "registry/serving@sha256:new",
    }
    assert f"push registry/serving:{tag_of('serving')}" in log.read_text()


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"Architecture": "arm64"}, "is for linux/arm64, and clouds run linux/amd64 alone"),
        ({"Descriptor": {"mediaType": "application/vnd.oci.image.index.v1+json"}}, "SageMaker's hosting refuses"),
    ],
)
def test_what_sagemaker_would_refuse_is_not_pushed(
    cloud: PulumiStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, document: dict[str, Any], words: str
) -> None:
    monkeypatch.setattr("llmops.platforms.registry.image_registry", lambda _: Registry())
    log = has_image(monkeypatch, tmp_path / "bin", **document)
    with pytest.raises(KitError, match=words) as refused:
        push_for(cloud, print, names=["serving"])
    assert "docker rmi" in refused.value.fix
    assert "push" not in log.read_text()
