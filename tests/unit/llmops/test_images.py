"""Which images a stack takes, and what they are called in a registry."""

from pathlib import Path

import pytest

from contract.errors import KitError
from hosting import containers, images
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
