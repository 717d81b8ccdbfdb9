"""Runs on this machine: a folder and a process each. The process needs no watcher: its folder has its state.

runs/<id>/run.json    the run's specification     runs/<id>/log.txt    the output of all its starts
runs/<id>/state.json  its last known state        runs/<id>/root/      its container's `/`
runs/<id>/start.json  how it was started          runs/<id>/trainer/   that of its first job, if it has two

A run with its own trainer has two jobs, one after the other: following or collecting it starts the second one.
The process runs the image's code on the run's data. It can read its image and its inputs and write its outputs, but
not reach this user's other files, above all the signing key (local_runtime/confinement.py).
"""

import fcntl
import os
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from llmops_kit.cli.interfaces.platform import Run, Say
from llmops_kit.cli.store.store import Store, now
from llmops_kit.cli.terminal.plain_text import EARLIER
from llmops_kit.core.documents.run import RunJob, RunSpec, RunState
from llmops_kit.core.errors import KitError, RunError
from llmops_kit.core.expiry import utc_text
from llmops_kit.core.layout import MANIFEST, SPEC, TrainingFolders
from llmops_kit.local_runtime import confinement
from llmops_kit.local_runtime.processes import is_running, started_at

if TYPE_CHECKING:
    from llmops_kit.local_runtime.process_images import ProcessImage

_STOP_SECONDS = 120  # as long as SageMaker gives a job
_STOPPED, _START = "stop-requested", "start.json"
_LONGEST_FAILURE = 4096
_ROOTS: dict[RunJob, str] = {"": "root", "trainer": "trainer", "evaluation": "root"}
_AGAIN = "--- started again"
"""Begins the line of the log before the output of a resumed run."""
_EXIT_CODE = "exit_code"
# A user's own trainer reports success by its exit code alone. SIGTERM reaches the whole process group: the shell
# ignores it, so that it can record the code.
_RECORD_CODE = 'marker=$1; shift; trap : TERM; "$@"; code=$?; echo $code > "$marker"; exit $code'
_OURS: dict[int, "subprocess.Popen[bytes]"] = {}  # started by this process, which has to reap them


class LocalRuns:
    """A stack's runs as processes of this machine, each with its own folder below `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def submit(self, spec: RunSpec, store: Store, say: Say) -> None:
        """Creates the run's folder, all or nothing, and starts its process."""
        partial = self.folder / f".{spec.id}.partial"
        first: RunJob = "trainer" if spec.trainer else ""
        try:
            partial.mkdir()
            spec.write(partial / SPEC)
            for root in {_ROOTS[first], _ROOTS[""]}:
                _lay_out(TrainingFolders(partial / root), partial / SPEC, spec, store)
            if spec.trainer:
                left = TrainingFolders(self.folder.absolute() / spec.id / _ROOTS[first]).model
                TrainingFolders(partial / _ROOTS[""]).channel("trained").symlink_to(left)
            RunState.new(id=spec.id, status="pending", job=first).write(partial / "state.json")
            partial.rename(self.folder / spec.id)
        except OSError as e:
            raise RunError(f"can't create the run's folder: {e.strerror}", where=str(partial)) from e
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        self.start(spec.id, say)

    def start(self, run: str, say: Say) -> None:
        """Starts the process of a run's current job, which resumes from its last checkpoint.

        Raises:
            RunError: the run is running, or complete.
        """
        folder = self.folder / run
        with _locked(folder):
            spec, state = RunSpec.load(folder / SPEC), self.state(run)
            if state.status == "running":
                raise RunError(f"run {run} is running", where=str(folder), fix=f"`llmops runs follow {run}`")
            if state.status == "completed":
                raise RunError(f"run {run} is complete", where=str(folder), fix=f"`llmops runs collect {run}`")
            root = folder / _ROOTS[state.job]
            training = spec.trainer if state.job == "trainer" else None
            image = _built(training.image if training else spec.image, say)
            _forget_failure(root)
            (folder / _STOPPED).unlink(missing_ok=True)
            program = self._program(root, image, training.command if training else None)
            way = confinement.find_way(program, image.python, self._user(folder), folder / _START)
            with (folder / "log.txt").open("ab") as log:
                if log.tell() and state.status != "pending":  # else the second of two jobs
                    log.write(f"{_AGAIN} {now()}\n".encode())
                    log.flush()
                if not way.keeps_secrets:
                    log.write(f"warning: {unconfined(way)}\n".encode())
                    log.flush()
                process = confinement.start(program, way, folder / _START, log)
            _OURS[process.pid] = process
            began = started_at(process.pid)
            state = RunState.new(
                id=run, status="running", job=state.job, started=now(), pid=process.pid, pid_started=began
            )
            state.write(folder / "state.json")

    def _program(self, root: Path, image: "ProcessImage", command: list[str] | None) -> confinement.ConfinedProgram:
        """Returns the confined program of a job: the kit's training, or the `command` of the user's own trainer. Links
        below its root can't widen the folders that it may use.
        """
        from llmops_kit.local_runtime import process_images

        folders = TrainingFolders(root)
        environ = process_images.process_environ(image, root)
        interpreters = [folder for each in image.interpreters for folder in confinement.interpreter_folders(each)]
        if os.geteuid() == 0:
            image.let_all_read()
        argv = [str(image.python), "-m", "llmops_kit.training", "train"]
        if command:
            argv = _recorded(command, image, environ["PATH"], folders)
            environ |= folders.trainer_environ
        trained = folders.channel("trained")
        return confinement.ConfinedProgram(
            argv=argv,
            environ=environ,
            cwd=root,
            inputs=[folders.channel(name).readlink() for name in ("dataset", "base_model")],
            # A trainer's output may be unreadable: that must not be mistaken for a confinement that doesn't work.
            read=[
                root,
                image.app,
                *dict.fromkeys(interpreters),
                *([trained.readlink()] if trained.is_symlink() else []),
            ],
            write=_writable(root),
            hidden=[self.folder.parent, Path.home()],
        )

    def _user(self, folder: Path) -> int:
        """Returns the uid of a run's process: one for each run, the owner of its outputs; 0 if it can't have one."""
        outputs = [
            each for name in set(_ROOTS.values()) if (folder / name).is_dir() for each in _writable(folder / name)
        ]
        owner = outputs[0].stat().st_uid
        if os.geteuid() or owner:
            return owner if not os.geteuid() else 0
        others = (path.stat().st_uid for path in self.folder.glob("*/root/tmp"))
        user = confinement.free_user(str(folder.absolute()), others)
        return user if user and confinement.give(outputs, user) else 0

    def find(self, run: str) -> list[Run]:
        """Returns the runs whose id begins with `run`, newest first."""
        folders = [p.parent for p in self.folder.glob(f"{run}*/{SPEC}") if not p.parent.name.startswith(".")]
        found = [Run(RunSpec.load(f / SPEC), self.state(f.name)) for f in folders]
        return sorted(found, key=lambda r: (r.spec.created, r.spec.id), reverse=True)

    def state(self, run: str) -> RunState:
        """Returns the state of a run. If its process is gone, derives the state from its files, and stores it."""
        path = self.folder / run / "state.json"
        state = RunState.load(path)
        if state.status != "running" or _alive(state):
            return state
        ended = self._ended_state(run, state)
        ended.write(path)
        return ended

    def follow(self, run: str) -> Iterator[str]:
        """Yields the lines of log.txt until the process is gone; starts the second job of a run that has two.

        Lines from before the last start of a resumed run begin with EARLIER.
        """
        path = self.folder / run / "log.txt"
        path.touch()
        with path.open(errors="replace") as log:
            earlier, again, rest = f"\n{log.read()}".rpartition(f"\n{_AGAIN} ")
            yield from (f"{EARLIER}{line}" for line in earlier.split("\n")[1:])
            rest = f"{again}{rest}".removeprefix("\n")
            while True:
                ended = self.state(run).status != "running"
                rest += log.read()
                *lines, rest = rest.split("\n")
                yield from lines
                if ended and not self._start_second_job(run):
                    break
                time.sleep(0.1)
            if rest:
                yield rest

    def stop(self, run: str) -> None:
        """Sends SIGTERM, gives the run _STOP_SECONDS to write a checkpoint and end, then sends SIGKILL if it hasn't."""
        folder = self.folder / run
        state = self.state(run)
        if state.status != "running":
            raise RunError(f"run {run} is not running: it is {state.status}", where=str(folder))
        (folder / _STOPPED).touch()
        _signal(state, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_SECONDS
        while _alive(state) and time.monotonic() < deadline:
            time.sleep(0.1)
        if _alive(state):
            _signal(state, signal.SIGKILL)
            while _alive(state):
                time.sleep(0.05)
        self.state(run)

    def remove(self) -> None:
        """Kills the runs' processes, and removes their folders."""
        for path in self.folder.glob(f"*/{SPEC}"):
            _signal(self.state(path.parent.name), signal.SIGKILL)
            confinement.end_all(_writable(path.parent / "root")[0].stat().st_uid)
        shutil.rmtree(self.folder, ignore_errors=True)

    def output(self, run: str) -> Path:
        """Returns the run's folder opt/ml/model."""
        return TrainingFolders(self.folder / run / "root").model

    def _start_second_job(self, run: str) -> bool:
        """Starts the second job of an ended run that has one; returns whether it runs, no matter who started it."""
        state = self.state(run)
        if (state.status, state.job) != ("pending", "evaluation"):
            return state.status == "running"
        try:
            self.start(run, lambda _: None)
        except RunError:
            if self.state(run).status != "running":
                raise
        return True

    def _ended_state(self, run: str, state: RunState) -> RunState:
        folder = self.folder / run
        root = folder / _ROOTS[state.job]
        folders = TrainingFolders(root)
        confinement.end_all(folders.model.stat().st_uid)
        process = _OURS.pop(state.pid, None)
        log = folder / "log.txt"
        ended = utc_text(log.stat().st_mtime)
        failure, stopped, job = _read_small(folders.failure), (folder / _STOPPED).exists(), state.job
        if state.job == "trainer" and not failure and not stopped and _read_small(_code_file(folders)) == "0":
            return RunState.new(id=run, status="pending", job="evaluation", started=state.started)
        if failure:
            status = "failed"
        elif job != "trainer" and (folders.model / MANIFEST).exists():
            status = "completed"
        else:
            status = "stopped" if stopped else "failed"
            failure = "" if status == "stopped" else _last_words(log)
        return RunState.new(
            **state.model_dump(exclude={"schema_", "status", "ended", "failure", "exit_code", "pid", "pid_started"}),
            status=status,
            ended=ended,
            failure=failure,
            exit_code=process.poll() if process else None,
        )


def unconfined(way: confinement.Way) -> str:
    """Returns the warning for training that runs with all of its caller's rights."""
    return (
        "training runs as you, and can read what you can, the stack's signing key too: "
        f"this machine can't confine it ({way.why_not})"
    )


def _writable(root: Path) -> list[Path]:
    """Returns the folders that a run may write. Their parents stay the caller's, so none can be replaced by a link."""
    folders = TrainingFolders(root)
    return [root / "tmp", folders.model, folders.checkpoints, folders.failure.parent]


def _lay_out(folders: TrainingFolders, spec_file: Path, spec: RunSpec, store: Store) -> None:
    for folder in (folders.spec.parent, folders.model, folders.checkpoints, folders.reports, folders.root / "tmp"):
        folder.mkdir(parents=True)
    shutil.copyfile(spec_file, folders.spec)
    folders.channel("dataset").symlink_to(store.dataset_folder(spec.dataset.sha256))
    folders.channel("base_model").symlink_to(store.model_folder(spec.base_model.sha256))


def _recorded(command: list[str], image: "ProcessImage", path: str, folders: TrainingFolders) -> list[str]:
    """Returns a trainer's command in a shell that records its exit code."""
    first, *words = command
    program = str(image.python) if first in ("python", "python3") else shutil.which(first, path=path) or first
    return ["/bin/sh", "-c", _RECORD_CODE, "sh", str(_code_file(folders)), program, *words]


def _code_file(folders: TrainingFolders) -> Path:
    return folders.failure.parent / _EXIT_CODE


def _read_small(path: Path) -> str:
    """Returns the text of a small file that a run wrote, such as its failure; empty if there is none. The run controls
    the path, which may be a link to a file of ours, a pipe, or endless.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return ""
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return "its failure file is not a regular file"
        return os.read(descriptor, _LONGEST_FAILURE).decode(errors="replace")[:1024].strip()
    finally:
        os.close(descriptor)


def _forget_failure(root: Path) -> None:
    folders = TrainingFolders(root)
    for left in (folders.failure, _code_file(folders)):
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left)
        left.unlink(missing_ok=True)


def _built(ref: str, say: Say) -> "ProcessImage":
    """Returns the image of a reference; rebuilds one that the cache lost, if the checkout still has its files."""
    from llmops_kit.local_runtime import process_images

    if not ref.startswith("process:"):
        raise KitError(
            f"runs of image {ref} are not supported on this machine yet",
            where="llmops:local_runtime",
            fix="set llmops:local_runtime to process, then `llmops up`",
        )
    name = ref.removeprefix("process:").partition("@")[0]
    if process_images.is_of_kit(name) and process_images.reference(name) == ref:
        return process_images.find(process_images.build(name, say))
    found = process_images.find(ref)
    if not process_images.is_of_kit(name):
        return found
    say("note: the training code in this checkout differs from the stack's image; `llmops up` deploys it")
    return found


def _last_words(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    last = f"; its last line: {lines[-1][:300]}" if lines else ""
    return f"it ended without saying why (killed, out of memory, or the machine went down){last}"


def _alive(state: RunState) -> bool:
    if process := _OURS.get(state.pid):
        return process.poll() is None
    return is_running(state.pid, state.pid_started)


def _signal(state: RunState, number: int) -> None:
    """Signals the run's process and its children: it leads its own process group."""
    if _alive(state):
        try:
            os.killpg(state.pid, number)
        except ProcessLookupError:
            return


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Locks a run, so that one process at a time starts it."""
    if not folder.is_dir():
        raise KitError("there is no such run", where=str(folder), fix="`llmops runs list` shows the runs")
    with (folder / ".lock").open("w") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        yield
