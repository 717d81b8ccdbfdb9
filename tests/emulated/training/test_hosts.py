"""One job on two hosts, each a process with its own root and address: it equals one process, and both end as one."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from llmops_kit.core.documents.model import ModelManifest
from llmops_kit.core.integrity.digest import check_folder
from llmops_kit.core.layout import MANIFEST, TrainingFolders
from llmops_kit.training import checkpoints
from tests.support.checkout import IMPORT_PATH
from tests.support.runs.training import PROGRAMS, join_hosts, make_container, start_job, tiny_recipe, write_rows
from tests.support.tiny_models.models import tiny_model, training_python

# Nine rows in batches of four: the last batch of an epoch leaves the second host without a row.
RECIPE = tiny_recipe(batch_size=4, epochs=6, precision="f32")
STEPS = 18


class Hosts:
    """Two containers of one job."""

    def __init__(self, folder: Path) -> None:
        write_rows(folder / "data")
        self.first, self.second = (
            make_container(folder / name, tiny_model(), RECIPE, folder / "data") for name in ("1", "2")
        )
        join_hosts([self.first, self.second])

    @contextmanager
    def started(self) -> Iterator[list[subprocess.Popen[str]]]:
        """Their first processes; none outlives the block."""
        jobs = [start_job(folders) for folders in (self.first, self.second)]
        try:
            yield jobs
        finally:
            for job in jobs:
                job.kill()
                job.communicate()

    def run(self) -> list[str]:
        """Run to the end; the first one's lines."""
        with self.started() as jobs:
            said = [job.communicate(timeout=300) for job in jobs]
            assert [job.returncode for job in jobs] == [0, 0], said
        return said[0][0].splitlines()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Hosts, dict[str, Any]]:
    """A run that nothing interrupted, and what one process makes of the same."""
    hosts = Hosts(tmp_path_factory.mktemp("whole"))
    recipe = hosts.first.root / "recipe.json"
    RECIPE.write(recipe)
    arguments = [tiny_model(), hosts.first.channel("dataset") / "train.parquet", recipe]
    with subprocess.Popen(
        [training_python(), PROGRAMS / "alone.py", *arguments],
        env={**os.environ, "PYTHONPATH": IMPORT_PATH},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as one:
        hosts.run()
        adapter = next(hosts.first.checkpoints.glob("*/trained"))
        output, errors = one.communicate(f"{adapter}\n", timeout=300)
    assert one.returncode == 0, errors[-3000:]
    return hosts, json.loads(output.splitlines()[-1])


def losses(checkpoint: Path) -> list[float]:
    """Of each step before a checkpoint, to the last bit."""
    history = json.loads((checkpoint / "trainer_state.json").read_text())["log_history"]
    return [entry["loss"] for entry in history if "loss" in entry]


def newest(folders: TrainingFolders) -> Path:
    """The newest complete checkpoint."""
    found = checkpoints.newest(next(folders.checkpoints.iterdir()))
    assert found
    return found


def until(job: subprocess.Popen[str], beginning: str) -> list[str]:
    """The job's lines up to one that begins so."""
    assert job.stdout
    lines = []
    for line in job.stdout:
        lines.append(line.rstrip("\n"))
        if line.startswith(beginning):
            return lines
    raise AssertionError(f"no line began with {beginning!r}: {job.stderr and job.stderr.read()[-3000:]}")


def test_two_hosts_train_what_one_process_trains(whole: tuple[Hosts, dict[str, Any]]) -> None:
    hosts, alone = whole
    together = losses(newest(hosts.first))
    assert len(together) == STEPS
    assert together == pytest.approx(alone["losses"], rel=2e-6)
    # Adam divides by the size of each gradient, so rounding counts most where there is next to none: processors differ.
    assert alone["distance"] < 1e-4 * alone["size"]
    manifest = ModelManifest.load(hosts.first.model / MANIFEST)
    check_folder(hosts.first.model, manifest.files)
    assert manifest.training
    assert manifest.training.steps == STEPS


def test_only_the_first_host_leaves_anything(whole: tuple[Hosts, dict[str, Any]]) -> None:
    second = whole[0].second
    assert not [p for p in (second.checkpoints, second.model, second.reports, second.failure) if p.exists()]


def test_stopped_and_started_again_it_goes_on_to_the_bit_until_a_host_is_lost(
    whole: tuple[Hosts, dict[str, Any]], tmp_path: Path
) -> None:
    hosts = Hosts(tmp_path)
    with hosts.started() as (first, second):
        until(first, "step=5 ")
        second.send_signal(signal.SIGTERM)  # one of them is told, and both end
        assert [job.wait(120) for job in (first, second)] == [143, 143]
    assert not hosts.first.failure.exists()
    stopped = newest(hosts.first).name

    with hosts.started() as (first, second):
        assert f"resume={stopped}" in until(first, "step=12 ")
        second.kill()
        output, errors = first.communicate(timeout=120)
        assert first.returncode == 1, output
    failure = hosts.first.failure.read_text()
    assert failure.startswith("rank 1 on algo-2 is gone without a message"), failure
    assert "fix: " in failure
    assert "Traceback" not in errors
    resumed = losses(newest(hosts.first))
    assert len(resumed) > int(stopped.removeprefix("checkpoint-"))
    assert resumed == losses(newest(whole[0].first))[: len(resumed)]
