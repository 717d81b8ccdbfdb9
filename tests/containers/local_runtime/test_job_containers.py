"""Jobs in Docker: folders, users, networks, ends, and that no container stays behind."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from llmops_kit.local_runtime import containers, job_containers
from llmops_kit.local_runtime.job_containers import JobSpec
from tests.containers.conftest import docker
from tests.support.runs.jobs import started_by_another_process

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def image(base: str) -> Iterator[str]:
    """A program in an image from what is on this machine."""
    lines = [f"FROM {base}", "COPY job.py /job.py", 'ENTRYPOINT ["python3", "-u", "/job.py"]']
    made = docker("build", "--quiet", "--file", "-", str(Path(__file__).parent), stdin="\n".join(lines))
    yield f"docker:job@{made}"
    docker("rmi", "--force", made)


@pytest.fixture
def spec(image: str, tmp_path: Path) -> Iterator[Callable[..., JobSpec]]:
    def make(code: str, host: str = "algo-1", **more: object) -> JobSpec:
        root = tmp_path / "home" / host
        for folder in ("model", "input/data/train"):
            (root / "opt/ml" / folder).mkdir(parents=True, exist_ok=True)
        (root / "opt/ml/input/data/train/rows").write_text("1")
        return JobSpec(host, image, tmp_path / "home", root, environ={"CODE": code}, host=host, **more)  # type: ignore[arg-type]

    yield make
    assert left(tmp_path / "home") == []


def left(home: Path) -> list[str]:
    label = f"label=llmops.jobs={job_containers.home_id(home)}"
    return [
        *docker("ps", "--all", "--quiet", "--filter", label).split(),
        *docker("network", "ls", "--quiet", "--filter", label).split(),
    ]


def run(*specs: JobSpec) -> tuple[list[int | None], list[str]]:
    lines: list[str] = []
    started = [job_containers.start(spec, lines.extend) for spec in specs]
    return [job.wait(120) for job in started], lines


def test_folders_and_what_another_user_left_in_them(spec: Callable[..., JobSpec]) -> None:
    code = """
print(sys.argv[1:], os.getuid(), Path("/opt/ml/input/data/train/rows").read_text())
try:
    Path("/opt/ml/input/data/train/mine").write_text("")
except OSError as e:
    print(e.strerror)
os.chmod("/opt/ml/model", 0o700)
os.chown("/opt/ml/model", 4321, 4321)
os.setuid(4321)
Path("/opt/ml/model/weights").write_text("w")
sys.exit(5)
"""
    job = spec(code, read_only=("/opt/ml/input/data/train",))
    codes, lines = run(job)
    assert (codes, lines) == ([5], ["['train'] 0 1", "Read-only file system"])
    assert (job.root / "opt/ml/model/weights").read_text() == "w"


def test_no_network(spec: Callable[..., JobSpec]) -> None:
    code = "print([name for _, name in socket.if_nameindex()])"
    assert run(spec(code, network="none")) == ([0], ["['lo']"])


def test_two_find_each_other_by_name(spec: Callable[..., JobSpec], tmp_path: Path) -> None:
    listens = """
with socket.create_server(("algo-1", 29500)) as server:
    print("heard", server.accept()[0].recv(100).decode())
"""
    calls = """
for _ in range(300):
    try:
        socket.create_connection(("algo-1", 29500)).sendall(socket.gethostname().encode())
        break
    except OSError:
        time.sleep(0.1)
"""
    with job_containers.network(tmp_path / "home", "pair", isolated=True) as network:
        assert docker("network", "inspect", "--format", "{{.Internal}}", network) == "true"
        pair = [spec(listens, "algo-1", network=network), spec(calls, "algo-2", network=network)]
        assert run(*pair) == ([0, 0], ["heard algo-2"])


WAITING = """
signal.signal(signal.SIGTERM, lambda *_: (print("told"), sys.exit(7)))
print("ready")
time.sleep(300)
"""


def test_sigterm_reaches_the_program(spec: Callable[..., JobSpec]) -> None:
    ready = threading.Event()
    lines: list[str] = []

    def said(new: list[str]) -> None:
        lines.extend(new)
        ready.set()

    job = job_containers.start(spec(WAITING), said)
    assert ready.wait(60)
    job_containers.stop([job], grace=60)
    assert (job.wait(), lines) == (7, ["ready", "told"])


@pytest.mark.parametrize("victims", ["starter", "starter and warden"])
def test_no_container_outlives_its_starter(spec: Callable[..., JobSpec], victims: str) -> None:
    job = spec(WAITING.replace("sys.exit(7)", "None"))
    with started_by_another_process(job, "ready") as (starter, warden):
        if victims == "starter and warden":
            os.kill(warden, signal.SIGKILL)
        starter.kill()
    if victims == "starter and warden":
        job_containers.end_leftovers(job.home, docker=True)
    deadline = time.monotonic() + 60
    while left(job.home):
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.vulnerability(14)
def test_vulnerability_14_what_a_container_may_do(spec: Callable[..., JobSpec]) -> None:
    """As the kernel has it: few capabilities and none to be had, and limits of processes and memory."""
    code = """
status = dict(line.split(":\\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\\t" in line)
print(status["CapBnd"], status["CapEff"], status["NoNewPrivs"])
groups = Path("/sys/fs/cgroup")
for new, old in (("pids.max", "pids/pids.max"), ("memory.max", "memory/memory.limit_in_bytes")):
    print((groups / new if (groups / new).exists() else groups / old).read_text().strip())
"""
    codes, (capabilities, pids, memory) = run(spec(code))
    chown_kill_setgid_setuid = f"{1 << 0 | 1 << 5 | 1 << 6 | 1 << 7:016x}"
    assert (codes, capabilities) == ([0], f"{chown_kill_setgid_setuid} {chown_kill_setgid_setuid} 1")
    assert pids == str(containers.PIDS)
    assert 0 < int(memory) < psutil.virtual_memory().total
