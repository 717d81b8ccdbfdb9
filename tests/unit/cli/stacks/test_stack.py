from pathlib import Path
from types import SimpleNamespace

import pytest

from llmops_kit.cli.stacks.backend import base_environ, folder_url
from llmops_kit.cli.stacks.project import Project
from llmops_kit.cli.stacks.stack import PulumiStack


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    for name in (
        "PULUMI_BACKEND_URL",
        "PULUMI_ACCESS_TOKEN",
        "PULUMI_CONFIG_PASSPHRASE",
        "PULUMI_CONFIG_PASSPHRASE_FILE",
    ):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "with a space"
    folder.mkdir()
    (folder / "Pulumi.yaml").write_text("name: llmops\nruntime: python\n")
    (folder / "Pulumi.dev.yaml").write_text("config:\n  llmops:target: local\n")
    (folder / "Pulumi.far.yaml").write_text("config:\n  llmops:target: aws\n")
    return Project.find(folder)


def test_local_stacks_get_a_backend_in_the_checkout(project: Project) -> None:
    environ = base_environ(project.folder, local=True)
    assert environ["PULUMI_BACKEND_URL"] == folder_url(project.folder / ".llmops/state")
    assert environ["PULUMI_CONFIG_PASSPHRASE"] == ""
    assert PulumiStack(project, "dev").state_folder == project.folder / ".llmops/state"


def test_other_targets_and_chosen_backends_are_left_alone(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "PULUMI_BACKEND_URL" not in base_environ(project.folder, local=False)
    assert PulumiStack(project, "far").state_folder is None
    assert not (project.folder / ".llmops").exists()
    monkeypatch.setenv("PULUMI_ACCESS_TOKEN", "pul-x")
    assert "PULUMI_BACKEND_URL" not in base_environ(project.folder, local=True)
    monkeypatch.setenv("PULUMI_BACKEND_URL", "s3://team")
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "theirs")
    environ = base_environ(project.folder, local=True)
    assert (environ["PULUMI_BACKEND_URL"], environ["PULUMI_CONFIG_PASSPHRASE"]) == ("s3://team", "theirs")
    assert PulumiStack(project, "dev").state_folder is None
    assert PulumiStack(project, "dev").backend == "s3://team"


def test_the_engine_collects_no_garbage_in_commands_that_only_read(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GOGC", "GOMEMLIMIT"):
        monkeypatch.delenv(name, raising=False)
    engine = tmp_path / "engine"
    engine.write_text("""#!/bin/sh\nprintf '{"url": "%s", "limit": "%s"}' "$GOGC" "$GOMEMLIMIT"\n""")
    engine.chmod(0o755)

    def asked() -> PulumiStack:
        stack = PulumiStack(project, "far")
        vars(stack)["_engine"] = SimpleNamespace(pulumi=engine, env={})
        return stack

    assert asked().backend == "off"
    assert asked().preview() == {"url": "", "limit": ""}, "providers take what they need"
    monkeypatch.setenv("GOGC", "50")
    assert asked().backend == "50"


def test_a_local_stack_is_not_looked_for_in_the_state_of_a_twin(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    home = tmp_path / "twin"
    (home / "state").mkdir(parents=True)
    monkeypatch.setenv("PULUMI_BACKEND_URL", folder_url(home / "state"))
    assert base_environ(project.folder, local=True)["PULUMI_BACKEND_URL"] == folder_url(home / "state")
    (home / "twin.json").write_text("{}")
    assert base_environ(project.folder, local=True)["PULUMI_BACKEND_URL"] == folder_url(
        project.folder / ".llmops/state"
    )
    assert base_environ(project.folder, local=False)["PULUMI_BACKEND_URL"] == folder_url(home / "state")
