"""Where a job's folders are: SageMaker's below a root, or wherever a platform mounts them."""

from pathlib import Path
from unittest import mock

import pytest

from llmops_kit.core.layout import FOLDER_VARIABLES, TrainingFolders
from llmops_kit.training import __main__, job
from llmops_kit.training.privileges import give_up_root


def test_folders_are_sagemakers_unless_they_are_placed(tmp_path: Path) -> None:
    folders = TrainingFolders.of({"LLMOPS_ROOT": str(tmp_path), "LLMOPS_FOLDER_MODEL": "/mnt/model"})
    assert folders.model == Path("/mnt/model")
    assert folders.checkpoints == tmp_path / "opt/ml/checkpoints"
    assert folders.failure == tmp_path / "opt/ml/output/failure"


def test_every_folder_can_be_placed(tmp_path: Path) -> None:
    folders = TrainingFolders.of({variable: str(tmp_path / name) for name, variable in FOLDER_VARIABLES.items()})
    assert folders.spec == tmp_path / "spec/run.json"
    found = (folders.channel("dataset"), folders.channel("base_model"), folders.checkpoints, folders.reports)
    assert found == tuple(tmp_path / name for name in ("dataset", "base_model", "checkpoints", "reports"))
    assert folders.failure == tmp_path / "reports/failure"


def test_the_command_places_them_for_all_processes_of_the_job(tmp_path: Path) -> None:
    environ = {"LLMOPS_ROOT": str(tmp_path)}
    with (
        mock.patch.dict("os.environ", environ, clear=True),
        mock.patch.object(__main__, "prepare_process"),
        mock.patch.object(__main__, "require_packages"),
        mock.patch.object(job, "run_job", side_effect=lambda found: environ.update(found) or 7),
    ):
        assert __main__.main(["train", "--folder", "model=/m", "--folder", "spec=/s", "--run", "job-1"]) == 7
    assert (environ["LLMOPS_FOLDER_MODEL"], environ["LLMOPS_FOLDER_SPEC"]) == ("/m", "/s")
    assert environ["LLMOPS_RUN"] == "job-1"


@pytest.mark.parametrize("folder", ["models=/m", "model", "model=m"])
def test_what_is_no_folder_is_named(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert __main__.main(["train", "--folder", folder]) == 1
    said = capsys.readouterr().err
    assert f"--folder {folder}" in said
    assert "base_model" in said


def test_what_a_platform_mounts_is_not_given_away(tmp_path: Path) -> None:
    environ = {"LLMOPS_FOLDER_MODEL": str(tmp_path / "model")}
    with mock.patch("os.geteuid", return_value=0):
        give_up_root(environ)
    assert not list(tmp_path.iterdir())
