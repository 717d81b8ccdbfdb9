"""Logs of jobs: files user_logs/std_log….txt, one for each process, kept in the twin's folder.

https://learn.microsoft.com/azure/machine-learning/how-to-log-view-metrics#view-and-download-diagnostic-logs
"""

import shutil
from collections.abc import Iterable
from pathlib import Path

from llmops_kit.core.hashes import sha256_bytes
from llmops_kit.local_runtime.job_containers import Said
from llmops_twins.azure.protocol.ids import key
from llmops_twins.azure.twin import TenantTwin

FOLDER = "job-logs"
_TOLD_LINES = 20
_READ_BYTES = 1 << 16


def folder(twin: TenantTwin, job_id: str) -> Path:
    """Returns the folder of a job's logs."""
    return twin.home / FOLDER / sha256_bytes(key(job_id).encode())[:24]


def name_of(rank: int, processes: int) -> str:
    """Returns the log name of a process: with its rank if the job has several."""
    return "user_logs/std_log.txt" if processes == 1 else f"user_logs/std_log_process_{rank:02}.txt"


def writer(twin: TenantTwin, job_id: str, name: str) -> Said:
    """Returns the function that writes the lines of a process to its file, unbuffered."""
    file = folder(twin, job_id) / name
    file.parent.mkdir(parents=True, exist_ok=True)

    def write(lines: list[str]) -> None:
        with file.open("a", encoding="utf-8", errors="replace") as opened:
            opened.write("".join(f"{line}\n" for line in lines))

    return write


def names(twin: TenantTwin, job_id: str) -> list[str]:
    """Returns the existing logs of a job."""
    top = folder(twin, job_id)
    return sorted(path.relative_to(top).as_posix() for path in top.rglob("*") if path.is_file())


def last_lines(twin: TenantTwin, job_id: str, name: str) -> str:
    """Returns the end of a log, for messages about a failure."""
    try:
        with (folder(twin, job_id) / name).open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - _READ_BYTES))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-_TOLD_LINES:])
    except OSError:
        return ""


def keep_only(twin: TenantTwin, job_ids: Iterable[str]) -> None:
    """Removes the logs of deleted jobs."""
    known = {folder(twin, job_id) for job_id in job_ids}
    top = twin.home / FOLDER
    for path in top.iterdir() if top.exists() else ():
        if path not in known:
            shutil.rmtree(path, ignore_errors=True)
