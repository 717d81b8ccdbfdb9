from pathlib import Path

import pytest

from llmops_kit.cli.stacks.project import Project
from llmops_kit.core.errors import NotFoundError


def test_without_a_project_the_error_says_how_to_begin(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no Pulumi\.yaml here or in a folder above") as refused:
        Project.find(tmp_path)
    assert refused.value.where == str(tmp_path)
    assert "--cwd" in refused.value.fix
    assert "to begin, `llmops init`" in refused.value.fix


def test_the_program_is_where_pulumi_looks_for_it(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.yaml").write_text("name: llmops\nruntime: python\nmain: deploy\n")
    with pytest.raises(NotFoundError) as refused:
        Project.find(tmp_path).require_program()
    assert refused.value.where == str(tmp_path / "deploy/__main__.py")
    assert f"correct `main: deploy` in {tmp_path}/Pulumi.yaml" in refused.value.fix
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy/__main__.py").touch()
    Project.find(tmp_path).require_program()
    (tmp_path / "Pulumi.yaml").write_text("name: llmops\nruntime: python\nmain: deploy/__main__.py\n")
    Project.find(tmp_path).require_program()


def test_a_program_reached_by_a_link_sees_the_project_around_it(tmp_path: Path) -> None:
    """As in a rehearsal: `.llmops` of such a program is beside the Pulumi.yaml that the links lead to."""
    original, linked = tmp_path / "original", tmp_path / "linked"
    (original / "infra").mkdir(parents=True)
    (original / "Pulumi.yaml").write_text("name: llmops\nmain: infra\n")
    (original / "infra/__main__.py").touch()
    Project(original).link_into(linked)
    assert Project(original).program_project == original.resolve()
    assert Project(linked).program_project == original.resolve()
