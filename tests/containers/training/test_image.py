"""The training image as SageMaker runs it: started as root, without a network, and then a user without rights."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from llmops_kit.core.documents.model import ModelManifest
from llmops_kit.core.layout import MANIFEST
from llmops_kit.local_runtime import job_containers
from llmops_kit.local_runtime.job_containers import JobSpec
from tests.containers.conftest import docker
from tests.support.runs.training import make_container, tiny_recipe, write_rows
from tests.support.tiny_models.models import tiny_model

pytestmark = pytest.mark.docker
USER = 10001


@pytest.mark.scorecard("non-root-digests")
def test_a_job_trains_as_a_user_without_rights_and_leaves_a_whole_version(
    built: Callable[[str], str], tmp_path: Path
) -> None:
    if os.getuid():
        pytest.skip("what a container's user wrote can be looked at by root alone")
    write_rows(tmp_path / "data")
    recipe = tiny_recipe(openvino=True, epochs=1, checkpoint_steps=2)
    folders = make_container(tmp_path / "root", tiny_model(), recipe, tmp_path / "data")
    lines: list[str] = []
    spec = JobSpec(
        name="tiny",
        image=f"docker:training@{built('training')}",
        home=tmp_path,
        root=tmp_path / "root",
        network="none",
    )
    job = job_containers.start(spec, lines.extend)
    assert job.wait(240) == 0, "\n".join(lines)
    assert any("loss=" in line for line in lines)
    manifest = ModelManifest.parse((folders.model / MANIFEST).read_text(), where="manifest")
    assert manifest.name == recipe.name
    written = [path for path in folders.model.rglob("*") if path.is_file()]
    assert written
    assert {path.stat().st_uid for path in written} == {USER}
    assert docker("ps", "--all", "--quiet", "--filter", f"label=llmops.jobs={job_containers.home_id(tmp_path)}") == ""
    shutil.rmtree(tmp_path / "root")


def test_what_it_was_made_from_is_written_on_it(built: Callable[[str], str]) -> None:
    labels = docker("inspect", "--format", "{{json .Config.Labels}}", built("training"))
    assert "llmops.source" in labels
    assert docker("inspect", "--format", "{{json .Config.Entrypoint}}", built("training")) == (
        '["python","-m","llmops_kit.training"]'
    )
