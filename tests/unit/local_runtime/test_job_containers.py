"""A job as its starter holds it."""

import subprocess

from llmops_kit.local_runtime.job_containers import Job


def test_orders_to_a_job_that_has_just_ended_change_nothing() -> None:
    process = subprocess.Popen(["echo", "done"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    lines: list[str] = []
    job = Job(process, lines.extend)
    process.wait()
    job.terminate()
    job.kill()
    assert (job.wait(), lines) == (0, ["done"])
