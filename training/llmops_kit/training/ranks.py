"""The processes of one job. All of them train and end for the same reason; rank 0 does the rest."""

import re
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

from llmops_kit.core.errors import KitError, RunError
from llmops_kit.training.wire import FileList, give, give_nothing, take

READY_SECONDS = 900
"""How long ranks wait for each other to begin training; as long as torchrun waits for hosts."""
_COLLECTIVE = timedelta(minutes=30)  # how long a rank may wait for another in training, as for a slow disk's checkpoint
_POLL_SECONDS = 0.1
_LAST_WORD_SECONDS = 3.0


class StoppedError(RunError):
    """The platform asked to stop; a checkpoint was written if there is progress to keep."""


class PeerStoppedError(StoppedError):
    """Another rank was asked to stop, with its own message."""


class PeerError(RunError):
    """Another rank failed or is gone, with its own message if it left one."""


class Alone:
    """A job of one process, which waits for no other."""

    rank, size = 0, 1

    @property
    def first(self) -> bool:
        """Whether this rank evaluates, packages, and writes the results."""
        return self.rank == 0

    def check(self) -> None:
        """Raises the error that ended another rank, if there is one."""

    def reached(self, mark: str, value: str = "") -> None:
        """Sets a mark, and releases the ranks that wait for it."""

    def wait_for(self, mark: str) -> str:
        """Waits until rank 0 has reached a mark; returns its value."""
        raise NotImplementedError("the first rank waits for no other")

    def connect(self) -> None:
        """Connects to the other ranks; called once."""

    def any_asks(self, asked: bool) -> bool:
        """Returns whether any rank's argument is true; the same answer on each."""
        return bool(self.largest(int(asked)))

    def any_asks_soon(self, asked: bool, seconds: float) -> bool:
        """Returns the result of `any_asks`, with a time limit for ranks that may never arrive.

        Raises:
            PeerError: the others did not arrive within so many seconds.
        """
        return asked

    def largest(self, number: int) -> int:
        """Returns the largest number of all ranks, on each of them."""
        return number

    def sum(self, values: Any) -> Any:
        """Returns the sum of all ranks' tensors of f64 or int64, on each of them."""
        return values

    def share(self, checkpoint: Path | None, folder: Path) -> Path | None:
        """Returns rank 0's folder for every rank: itself on the first host, a copy under a rank's `folder` on every
        other; None if there is none.
        """
        return checkpoint

    def beside_first(self, folder: Path) -> Path:
        """Returns rank 0's folder on the first host, where all of its ranks may write; a rank's own folder
        elsewhere.
        """
        return folder

    def collect(self, folder: Path, pattern: str) -> None:
        """Copies the files of other hosts' ranks into rank 0's folder. Returns when all ranks have called it.

        Args:
            folder: from `beside_first`.
            pattern: of the files' paths, with {} for the rank's number: a rank sends no others.
        """

    def together(self) -> None:
        """Waits until all ranks have called it."""

    def explain(self, error: Exception) -> Exception:
        """Returns the error of another rank if that ended this one; otherwise the error itself."""
        return error

    def leave(self, mark: str, text: str) -> str:
        """Tells the others why this rank ends: "failed" or "stopped". Returns the text, with the name of this rank."""
        return text

    def private_folder(self) -> Path:
        """Returns the working folder of a rank that keeps nothing."""
        raise NotImplementedError("the first rank works in the folder of checkpoints")


class Team(Alone):
    """One of several ranks that torchrun's agent started; the agent of the first host hosts their store."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        import torch
        from torch.distributed import PrefixStore, TCPStore  # pyright: ignore[reportPrivateImportUsage]

        self.rank, self.size = int(environ["RANK"]), int(environ["WORLD_SIZE"])
        self.host = environ["LLMOPS_HOST"]
        self.first_host = environ["LLMOPS_FIRST_HOST"]
        self._cuda = torch.cuda.is_available()
        if self._cuda:
            torch.cuda.set_device(int(environ["LOCAL_RANK"]))
        address, port = environ["MASTER_ADDR"], int(environ["MASTER_PORT"])
        timeout = timedelta(seconds=READY_SECONDS)
        server = TCPStore(address, port, None, False, timeout, wait_for_workers=False)
        self._store = PrefixStore("job", server)
        self._collectives = PrefixStore("collectives", server)
        self._control: Any = None
        self._store.set(f"host/{self.rank}", self.host)

    def check(self) -> None:
        if self._store.check(["stopped"]):
            raise PeerStoppedError(self._text("stopped"))
        if self._store.check(["failed"]):
            raise PeerError(self._text("failed"))

    def reached(self, mark: str, value: str = "") -> None:
        self._store.set(f"mark/{mark}", value)

    def wait_for(self, mark: str) -> str:
        while not self._store.check([f"mark/{mark}"]):
            self.check()
            time.sleep(_POLL_SECONDS)
        return self._text(f"mark/{mark}")

    def connect(self) -> None:
        from torch import distributed

        if self._control:
            return
        if missing := self._missing("ready", READY_SECONDS):
            raise PeerError(
                f"{self._names(missing)} did not connect within {READY_SECONDS} s",
                fix="see the log of that host",
            )
        backend = "cpu:gloo,cuda:nccl" if self._cuda else "gloo"
        distributed.init_process_group(
            backend, store=self._collectives, rank=self.rank, world_size=self.size, timeout=_COLLECTIVE
        )
        self._control = distributed.new_group(backend="gloo", timeout=_COLLECTIVE)

    def largest(self, number: int) -> int:
        import torch
        from torch import distributed

        numbers = torch.tensor([number])
        distributed.all_reduce(numbers, distributed.ReduceOp.MAX, group=self._control)
        return int(numbers.item())

    def any_asks_soon(self, asked: bool, seconds: float) -> bool:
        import torch
        from torch import distributed

        numbers = torch.tensor([int(asked)])
        work: Any = distributed.all_reduce(numbers, distributed.ReduceOp.MAX, group=self._control, async_op=True)
        try:
            work.wait(timedelta(seconds=seconds))
        except RuntimeError as e:
            self.check()
            raise PeerError(f"the other ranks did not respond within {seconds:g} s", fix="see their log") from e
        return bool(numbers.item())

    def sum(self, values: Any) -> Any:
        from torch import distributed

        distributed.all_reduce(values, group=self._control)
        return values

    def share(self, checkpoint: Path | None, folder: Path) -> Path | None:
        from torch import distributed

        hosts = self._hosts()
        leader = hosts.index(self.host)
        for other in {hosts.index(host): None for host in hosts if self.first and host != self.host}:
            if checkpoint:
                give(checkpoint, _files_of(checkpoint), lambda t, to=other: distributed.send(t, to, self._control))
            else:
                give_nothing(lambda t, to=other: distributed.send(t, to, self._control))
        if self.rank == leader:
            if not self.first:
                receive = partial(distributed.recv, src=0, group=self._control)
                checkpoint = take(folder, receive, lambda listed: "/" not in listed.folder)
            self._store.set(f"shared/{leader}", str(checkpoint or ""))
        self.together()
        found = self._text(f"shared/{leader}")
        self.together()  # the next call writes the same key
        return Path(found) if found else None

    def beside_first(self, folder: Path) -> Path:
        if self.first:
            self.reached("beside", str(folder))
        self.together()
        return Path(self._text("mark/beside")) if self.host == self.first_host else folder

    def collect(self, folder: Path, pattern: str) -> None:
        from torch import distributed

        if self.host != self.first_host:
            files = [name for name in _files_of(folder) if fnmatchcase(name, pattern.format(self.rank))]
            give(folder, files, partial(distributed.send, dst=0, group=self._control))
        for rank, host in enumerate(self._hosts()):
            if self.first and host != self.host:
                receive = partial(distributed.recv, src=rank, group=self._control)
                take(folder.parent, receive, partial(_are_new, folder, pattern.format(rank)))
        self.together()

    def together(self) -> None:
        from torch import distributed

        distributed.barrier(group=self._control)

    def explain(self, error: Exception) -> Exception:
        """Returns the cause of a broken connection, which another rank leaves in the store before it ends; otherwise
        the error itself.
        """
        if isinstance(error, KitError) or not _is_broken_connection(error):
            return error
        try:
            silent = self._missing("alive", _LAST_WORD_SECONDS)
        except (PeerError, PeerStoppedError) as e:
            return e
        except RuntimeError:
            return PeerError(
                f"{self.first_host}, the first host, is gone without a message ({_in_short(error)})",
                fix="see its log; start the run again: it resumes from its last checkpoint",
            )
        who = self._names(silent) if silent else "the connection between the hosts"
        return PeerError(
            f"{who} is gone without a message ({_in_short(error)})",
            fix="check its log, and whether memory ran out or its host was lost; start the run again: it resumes from "
            "its last checkpoint",
        )

    def leave(self, mark: str, text: str) -> str:
        named = f"rank {self.rank} on {self.host}: {text}"
        with suppress(RuntimeError):  # the first host is gone, and with it the store
            self._store.compare_set(mark, "", named)
        return named

    def private_folder(self) -> Path:
        return Path(tempfile.mkdtemp(prefix=f"rank-{self.rank}-"))

    def _hosts(self) -> list[str]:
        """Returns the host of each rank; all of them must have arrived."""
        return [self._text(f"host/{rank}") for rank in range(self.size)]

    def _missing(self, kind: str, seconds: float) -> list[int]:
        """Announces this rank, and returns the ranks that did not arrive within so many seconds.

        Raises:
            PeerError, PeerStoppedError: another rank left an error.
        """
        self._store.set(f"{kind}/{self.rank}", "")
        deadline = time.monotonic() + seconds
        while True:
            self.check()
            missing = [rank for rank in range(self.size) if not self._store.check([f"{kind}/{rank}"])]
            if not missing or time.monotonic() > deadline:
                return missing
            time.sleep(_POLL_SECONDS)

    def _names(self, ranks: list[int]) -> str:
        hosts = [self._text(f"host/{rank}") if self._store.check([f"host/{rank}"]) else "?" for rank in ranks]
        return ", ".join(f"rank {rank} on {host}" for rank, host in zip(ranks, hosts, strict=True))

    def _text(self, key: str) -> str:
        return self._store.get(key).decode()


def _files_of(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]


def _are_new(folder: Path, pattern: str, listed: FileList) -> bool:
    new = all(fnmatchcase(name, pattern) and not (folder / name).exists() for name in listed.files)
    return new and listed.folder == folder.name


def _is_broken_connection(error: Exception) -> bool:
    from torch import distributed

    words = str(error).lower()
    kinds = ("gloo", "nccl", "connection closed", "connection reset", "broken pipe", "socket")
    return isinstance(error, distributed.DistError) or (
        isinstance(error, RuntimeError) and any(kind in words for kind in kinds)
    )


def _in_short(error: Exception) -> str:
    """Returns the message's first sentence, without the location in torch's source."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return re.sub(r"^\[[^]]*\] ", "", line).partition(". ")[0][:200]
