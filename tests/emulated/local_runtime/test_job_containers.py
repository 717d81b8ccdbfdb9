"""Jobs as processes: their environment, output, ends, and that nothing of them stays behind."""

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from llmops_kit.core.errors import HostingError
from llmops_kit.local_runtime import job_containers
from llmops_kit.local_runtime.job_containers import JobSpec
from tests.support.runs.jobs import started_by_another_process, trainee

FAMILY = """
import subprocess
quick = "import time; time.sleep(300)"
subprocess.Popen([sys.executable, "-c", quick], start_new_session=True)
subprocess.Popen(["sh", "-c", f"setsid {sys.executable} -c '{quick}' &"]).wait()
print("born")
"""


@pytest.fixture
def spec(tmp_path: Path) -> Callable[..., JobSpec]:
    def make(code: str, **more: object) -> JobSpec:
        home = tmp_path / "home"
        root = home / "root"
        (root / "opt/ml").mkdir(parents=True, exist_ok=True)
        values = {"arguments": ("train",), "environ": {"CODE": code}} | more
        return JobSpec("one", trainee(), home, root, **values)  # type: ignore[arg-type]

    return make


class Said:
    """What a job said."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._news = threading.Condition()

    def __call__(self, lines: list[str]) -> None:
        with self._news:
            self.lines += lines
            self._news.notify_all()

    def until(self, line: str) -> None:
        with self._news:
            assert self._news.wait_for(lambda: line in self.lines, 120), self.lines


def of_home(home: Path) -> list[psutil.Process]:
    """The processes of a home's jobs."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.environ().get(job_containers.MARK, "").startswith(f"{home}:"):
                found.append(process)
    return found


def gone(home: Path) -> bool:
    deadline = time.monotonic() + 120
    while found := of_home(home):
        if time.monotonic() > deadline:
            pytest.fail(f"still there: {found}")
        time.sleep(0.02)
    return True


def test_a_job_runs_to_its_end_in_an_environment_of_its_own(
    spec: Callable[..., JobSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OF_THE_CALLER", "1")
    code = """
found = sorted(os.environ.keys() & {"OF_THE_CALLER", "LLMOPS_ROOT"})
print(found, os.environ["FOLDER"], oct(os.umask(0)), sys.stdin.read())
print("last, without an end", end="", file=sys.stderr)
sys.exit(3)
"""
    said = Said()
    job = spec(code, environ={"CODE": code, "FOLDER": "/opt/ml/input"})
    assert job_containers.start(job, said).wait() == 3
    assert said.lines == [f"['LLMOPS_ROOT'] {job.root}/opt/ml/input 0o22 ", "last, without an end"]


def test_another_entrypoint(spec: Callable[..., JobSpec]) -> None:
    said = Said()
    job = spec("", entrypoint=("sh", "-c"), arguments=("echo $0 $1", "/opt/ml/x", "/etc/x"))
    assert job_containers.start(job, said).wait() == 0
    assert said.lines == [f"{job.root}/opt/ml/x /etc/x"]


def test_a_program_that_is_not_there(spec: Callable[..., JobSpec]) -> None:
    said = Said()
    assert job_containers.start(spec("", entrypoint=("/no/such",)), said).wait() == 127
    assert said.lines == ["exec /no/such: No such file or directory"]


def test_an_image_that_nobody_built(spec: Callable[..., JobSpec]) -> None:
    job = spec("")
    with pytest.raises(HostingError, match="is not built on this machine"):
        job_containers.start(JobSpec("one", f"process:trainee@sha256:{'0' * 64}", job.home, job.root), Said())


def test_output_comes_while_it_runs_and_sigterm_ends_it_in_its_time(spec: Callable[..., JobSpec]) -> None:
    said = Said()
    job = job_containers.start(spec("catch(); print('ready'); wait_for_the_end(); print('saved'); sys.exit(7)"), said)
    said.until("ready")
    assert job.wait(0) is None
    job_containers.stop([job], grace=60)
    assert (job.wait(), said.lines) == (7, ["ready", "saved"])
    job.terminate()  # of one that has ended: nothing


def test_one_that_does_not_mind_sigterm_is_killed_after_its_grace(spec: Callable[..., JobSpec]) -> None:
    said = Said()
    job = job_containers.start(spec("catch(); print('ready'); time.sleep(300)"), said)
    said.until("ready")
    job_containers.stop([job], grace=0.1)
    assert job.wait() == 128 + signal.SIGKILL


def test_it_can_be_killed_as_soon_as_it_is_started(spec: Callable[..., JobSpec]) -> None:
    job = job_containers.start(spec("time.sleep(300)"), Said())
    job.kill()
    assert job.wait() == 128 + signal.SIGKILL


def test_what_the_first_process_leaves_behind_is_killed(spec: Callable[..., JobSpec]) -> None:
    job = spec(FAMILY)
    said = Said()
    assert job_containers.start(job, said).wait() == 0
    assert said.lines == ["born"]
    assert of_home(job.home) == []


@pytest.mark.parametrize("victim", ["starter", "starter and warden"])
def test_nothing_outlives_a_starter_that_is_killed(spec: Callable[..., JobSpec], victim: str) -> None:
    job = spec(FAMILY + "time.sleep(300)")
    with started_by_another_process(job, "born") as (starter, warden):
        assert len(of_home(job.home)) == 3
        if victim == "starter and warden":
            os.kill(warden, signal.SIGKILL)
        starter.kill()
    if victim == "starter and warden":  # the first process dies with its warden; its children are found by their mark
        job_containers.end_leftovers(job.home)
    assert gone(job.home)


def test_folders_that_it_may_only_read(spec: Callable[..., JobSpec]) -> None:
    job = spec("", read_only=("/opt/ml/input/data/train",))
    folder = job.root / "opt/ml/input/data/train"
    folder.mkdir(parents=True)
    (folder / "rows").write_text("1")
    job_containers.start(job, Said()).wait()
    assert (folder.stat().st_mode & 0o777, (folder / "rows").stat().st_mode & 0o777) == (0o555, 0o444)
