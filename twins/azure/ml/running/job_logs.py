"""What jobs write: files user_logs/std_log….txt, one for each process, kept in the twin's folder.

https://learn.microsoft.com/azure/machine-learning/how-to-log-view-metrics#view-and-download-diagnostic-logs
"""

import shutil
from collections.abc import Iterable
from pathlib import Path

from contract.integrity.digest import sha256_bytes
from hosting.jobs import Said
from twins.azure.arm.ids import key
from twins.azure.twin import TenantTwin

FOLDER = "job-logs"
_TOLD_LINES = 20
_READ_BYTES = 1 << 16


def folder(twin: TenantTwin, job_id: str) -> Path:
    """Where the files of a job are."""
    return twin.home / FOLDER / sha256_bytes(key(job_id).encode())[:24]


def name_of(rank: int, processes: int) -> str:
    """The file of a process: of a job's only one, or by its rank."""
    return "user_logs/std_log.txt" if processes == 1 else f"user_logs/std_log_process_{rank:02}.txt"


def writer(twin: TenantTwin, job_id: str, name: str) -> Said:
    """Who takes the lines of a process; they are in the file at once."""
    file = folder(twin, job_id) / name
    file.parent.mkdir(parents=True, exist_ok=True)

    def write(lines: list[str]) -> None:
        with file.open("a", encoding="utf-8", errors="replace") as opened:
            opened.write("".join(f"{line}\n" for line in lines))

    return write


def names(twin: TenantTwin, job_id: str) -> list[str]:
    """The files of a job that are there."""
    top = folder(twin, job_id)
    return sorted(path.relative_to(top).as_posix() for path in top.rglob("*") if path.is_file())


def last_lines(twin: TenantTwin, job_id: str, name: str) -> str:
    """The end of a file, for who is told of a failure."""
    try:
        with (folder(twin, job_id) / name).open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - _READ_BYTES))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-_TOLD_LINES:])
    except OSError:
        return ""


def keep_only(twin: TenantTwin, job_ids: Iterable[str]) -> None:
    """Remove the files of jobs that are no more."""
    known = {folder(twin, job_id) for job_id in job_ids}
    top = twin.home / FOLDER
    for path in top.iterdir() if top.exists() else ():
        if path not in known:
            shutil.rmtree(path, ignore_errors=True)
