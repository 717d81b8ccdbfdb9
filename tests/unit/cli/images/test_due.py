"""Which images `llmops up` builds before the engine runs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmops_kit.cli.images import due, sbom
from llmops_kit.cli.images.due import (
    DueImage,
    bring_images,
    due_images,
    expected_references,
    has_stale_training,
    needed,
)
from llmops_kit.cli.platforms.aws import image_registry
from llmops_kit.cli.stacks.project import Project
from llmops_kit.cli.stacks.stack import PulumiStack
from llmops_kit.core.documents.outputs import StackOutputs
from llmops_kit.core.errors import KitError
from llmops_kit.local_runtime import process_images
from llmops_kit.settings.stack_settings import Settings
from tests.support.clouds.settings import resolved
from tests.support.servers.http_servers import serving
from tests.unit.cli.images.test_stack_images import OciServer, Registry

OLD, NEW = "sha256:" + "0" * 64, "sha256:" + "1" * 64
MODEL = f"chatbot@1@{OLD}"


@pytest.mark.parametrize(
    ("endpoints", "more", "fields"),
    [
        ({}, {}, []),
        ({"chat": {}}, {}, ["serving"]),
        ({"chat": {"endpoint": False}}, {}, []),
        ({"chat": {"engine": "vllm"}, "other": {}}, {}, ["serving", "serving_vllm"]),
        ({"chat": {"size": {"instance_type": "ml.g5.xlarge"}}}, {}, ["serving_vllm"]),
        ({"chat": {}}, {"aws": {"instance_type": "ml.g5.xlarge"}}, ["serving_vllm"]),
        (
            {"chat": {"size": {"instance_type": "ml.g5.xlarge"}}},
            {"images": {"serving": f"acme/own@{OLD}"}},
            ["serving"],
        ),
        ({}, {"aws": {"schedules": {"nightly": {"run": "a-run", "cron": "rate(1 day)"}}}}, ["training"]),
    ],
)
def test_endpoints_and_schedules_need_images(
    endpoints: dict[str, Any], more: dict[str, Any], fields: list[str]
) -> None:
    entries = {name: {"model": MODEL} | entry for name, entry in endpoints.items()}
    settings = Settings.model_validate({"target": "aws", "endpoints": entries} | more)
    assert needed(resolved(settings)) == fields


class Made:
    """A stack, what was built or pushed for it, and what was said."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.said = folder, list[str]()
        self.done: list[tuple[str, list[str]]] = []
        for way in ("build", "push"):
            monkeypatch.setattr(due, f"{way}_for", self._make(way))
        (folder / "Pulumi.yaml").write_text("name: llmops\nruntime: python\n")

    def _make(self, way: str) -> Any:
        def make(_stack: PulumiStack, _say: Any, *, names: list[str]) -> dict[str, str]:
            self.done.append((way, names))
            return {name: f"made:{name}@sha256:{'1' * 64}" for name in names}

        return make

    def stack(self, text: str, target: str = "aws") -> PulumiStack:
        """Returns a stack whose file has these lines."""
        (self.folder / "Pulumi.dev.yaml").write_text(f"config:\n  llmops:target: {target}\n{text}")
        return PulumiStack(Project(self.folder), "dev")

    def up(self, text: str, target: str = "aws") -> str:
        """Brings the images of a stack whose file has these lines; the file afterwards."""
        stack = self.stack(text, target)
        bring_images(stack, self.said.append)
        return stack.file.path.read_text()


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    return Made(tmp_path, monkeypatch)


@pytest.fixture
def twin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:5000")


ENDPOINT = f"  llmops:endpoints:\n    chat: {{model: {MODEL}}}\n"


@pytest.mark.usefixtures("twin")
def test_on_a_twin_a_missing_image_is_built_and_written_into_the_file(made: Made) -> None:
    text = made.up(ENDPOINT)
    assert made.done == [("build", ["serving"])]
    assert f"serving: made:serving@sha256:{'1' * 64}" in text
    assert made.said[0] == "image serving: missing in the stack file; building it (--no-build: not)"


@pytest.mark.usefixtures("twin")
def test_what_others_write_into_the_file_meanwhile_is_kept(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine writes the key of a new stack's secrets there."""

    def build(*_: Any, names: list[str]) -> dict[str, str]:
        with (made.folder / "Pulumi.dev.yaml").open("a") as file:
            file.write("encryptedkey: abc\n")
        return dict.fromkeys(names, f"made@{NEW}")

    monkeypatch.setattr(due, "build_for", build)
    text = made.up(ENDPOINT)
    assert "encryptedkey: abc" in text
    assert f"made@{NEW}" in text


@pytest.mark.usefixtures("twin")
def test_on_a_twin_a_stale_process_is_built_anew_and_a_fresh_one_is_not(made: Made) -> None:
    fresh = process_images.reference("serving")
    text = made.up(f"  llmops:images: {{serving: '{fresh}', training: 'process:training@{OLD}'}}\n")
    assert made.done == [("build", ["training"])]
    assert fresh in text
    assert made.said[0].startswith("image training: source changed; ")


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setattr(PulumiStack, "is_deployed", lambda _: True)
    with serving(OciServer()) as server:
        found = Registry(server, serving=NEW)
        monkeypatch.setattr(due.platforms, "image_registry", lambda _: found)
        yield found


def test_on_a_cloud_the_kits_image_of_other_files_is_pushed_anew(made: Made, registry: Registry) -> None:
    registry.server.attached[OLD] = [{"digest": "sha256:1", "artifactType": sbom.MEDIA_TYPE}]
    made.up(f"  llmops:images: {{serving: 'registry/serving@{OLD}'}}\n{ENDPOINT}")
    assert made.done == [("push", ["serving"])]


@pytest.mark.parametrize(
    "reference",
    [f"registry/serving@{OLD}", f"acme/own@{OLD}", f"registry/serving@{NEW}"],
    ids=["own-files", "own-repository", "fresh"],
)
@pytest.mark.usefixtures("registry")
def test_on_a_cloud_other_images_stay(made: Made, reference: str) -> None:
    text = made.up(f"  llmops:images: {{serving: '{reference}'}}\n{ENDPOINT}")
    assert made.done == []
    assert reference in text


@pytest.mark.usefixtures("registry")
def test_on_a_cloud_a_missing_image_is_pushed_once_there_are_repositories(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.up(ENDPOINT)
    assert made.done == [("push", ["serving"])]
    monkeypatch.setattr(PulumiStack, "is_deployed", lambda _: False)
    made.up(ENDPOINT)
    assert len(made.done) == 1


def test_a_stack_on_this_machine_has_none(made: Made) -> None:
    made.up(ENDPOINT, target="local")
    assert made.done == []


@pytest.mark.usefixtures("twin")
def test_a_plan_knows_the_processes_that_up_builds_and_builds_none(made: Made) -> None:
    stack = made.stack(f"  llmops:images: {{training: 'process:training@{OLD}'}}\n{ENDPOINT}")
    due = due_images(stack)
    assert due == [
        DueImage("serving", "missing in the stack file", pushed=False),
        DueImage("training", "source changed", pushed=False),
    ]
    assert expected_references(stack, due) == {n: process_images.reference(n) for n in ("serving", "training")}
    assert made.done == []


@pytest.mark.parametrize(("tagged", "digest"), [("", OLD), (NEW, NEW)], ids=["not pushed yet", "pushed by others"])
def test_a_plan_takes_the_digest_of_a_tag_that_the_registry_has(
    made: Made, registry: Registry, monkeypatch: pytest.MonkeyPatch, tagged: str, digest: str
) -> None:
    registry.server.attached[OLD] = [{"digest": "sha256:1", "artifactType": sbom.MEDIA_TYPE}]
    monkeypatch.setattr(registry, "find", lambda _image, _tag: tagged)
    stack = made.stack(f"  llmops:images: {{serving: 'registry/serving@{OLD}'}}\n{ENDPOINT}")
    due = due_images(stack)
    assert due == [DueImage("serving", "source changed", pushed=True)]
    assert expected_references(stack, due) == {"serving": f"registry/serving@{digest}"}
    assert made.done == []


def _outputs(image: str) -> StackOutputs:
    aws = {"account": "000000000000", "region": "us-east-1", "repositories": {"training": "registry/training"}}
    return StackOutputs.new(
        target="aws",
        stack="dev",
        project="llmops",
        store={"url": "s3://store"},
        signing={"private_key": "awskms:///k", "public_key": "PEM"},
        training={"image": image, "runs": "s3://work/runs"},
        aws=aws,
    )


def test_runs_on_a_process_of_other_files_are_stale() -> None:
    assert has_stale_training(_outputs(f"process:training@{OLD}"))
    assert not has_stale_training(_outputs(process_images.reference("training")))


def test_who_may_not_read_the_registry_is_not_told_of_a_stale_image(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_outputs: StackOutputs) -> None:
        raise KitError("denied")

    monkeypatch.setattr(image_registry, "EcrImages", refuse)
    assert not has_stale_training(_outputs(f"registry/training@{OLD}"))
