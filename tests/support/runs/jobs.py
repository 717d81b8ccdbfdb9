"""Jobs of tests: the image `trainee`, which executes the code that a test gives it, and a process that starts a job."""

import functools
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llmops_kit.local_runtime.job_containers import JobSpec
from llmops_kit.local_runtime.process_images import ImageSource, build


@functools.cache
def trainee() -> str:
    """The reference of the image, built once."""
    folder = Path(__file__).parent / "trainee"
    return build(ImageSource("trainee", folder / "requirements.txt", {"trainee": folder}))


@contextmanager
def started_by_another_process(job: JobSpec, says: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Yields a process that has started a job, and the job's warden's process id, once the job has said a word; waits
    for the process's end.
    """
    program = f"""
from pathlib import Path
from llmops_kit.local_runtime import job_containers
home, root = Path({str(job.home)!r}), Path({str(job.root)!r})
spec = job_containers.JobSpec("one", {job.image!r}, home, root, environ={dict(job.environ)!r})
running = job_containers.start(spec, lambda lines: print(running.pid, *lines, flush=True))
running.wait()
"""
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path.cwd()) as starter:
        assert starter.stdout
        warden, said = starter.stdout.readline().split()
        assert said == says
        yield starter, int(warden)
