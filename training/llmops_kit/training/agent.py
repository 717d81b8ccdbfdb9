"""torchrun's agent on one host of a job: it meets the other hosts, starts this host's ranks and watches them.

Built from the components of torch.distributed.elastic rather than its command line, for three reasons: the store
listens on the host's own address alone, SIGTERM reaches the ranks with enough time left for a checkpoint, and waiting
can be stopped.
"""

import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import suppress

from torch.distributed import DistError, PrefixStore, Store, TCPStore  # pyright: ignore[reportPrivateImportUsage]
from torch.distributed.elastic.agent.server.api import RunResult, WorkerSpec
from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
from torch.distributed.elastic.rendezvous import RendezvousInfo, RendezvousStoreInfo
from torch.distributed.elastic.rendezvous.static_tcp_rendezvous import StaticTCPRendezvous

from llmops_kit.core.errors import RunError
from llmops_kit.core.layout import TrainingFolders
from llmops_kit.training.ending import FAILED, ended_without_a_word, exit_code, report_failure
from llmops_kit.training.hosts import HostPlace, address_of
from llmops_kit.training.ranks import READY_SECONDS
from llmops_kit.training.stopping import StopRequest

_TRY_SECONDS = 2.0
_LAST_WORD_SECONDS = 5.0  # how long the first host's store outlives its ranks, for the others to read why they ended
_OTHERS_SECONDS = 300.0


def run_host(place: HostPlace, folders: TrainingFolders, environ: Mapping[str, str], stop: StopRequest) -> int:
    """Runs this host's ranks to their end.

    Returns:
        The exit code: 0, 1 failed, 3 diverged, 143 stopped.

    Raises:
        RunError: the hosts do not find each other.
        StoppedError: asked to stop before the ranks were started.
    """
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # the ranks report reasons
    os.environ |= {
        "LLMOPS_HOST": place.host,
        "LLMOPS_FIRST_HOST": place.hosts[0],
        "TORCHELASTIC_SIGNALS_TO_HANDLE": "SIGINT,SIGHUP,SIGQUIT",  # SIGTERM is ours
    }
    if place.interface:
        os.environ |= {"GLOO_SOCKET_IFNAME": place.interface, "NCCL_SOCKET_IFNAME": place.interface}
    rendezvous = _HostRendezvous(place, folders, environ, stop)
    agent = LocalElasticAgent(
        WorkerSpec(
            role="training",
            local_world_size=max(1, place.gpus),
            entrypoint=sys.executable,
            args=("-m", "llmops_kit.training", "rank"),
            rdzv_handler=rendezvous,
            max_restarts=0,
            monitor_interval=0.1,
        ),
        DefaultLogsSpecs(log_dir=os.devnull),
        exit_barrier_timeout=_OTHERS_SECONDS,
    )
    _pass_on_sigterm(agent, stop)
    result: RunResult = agent.run()  # pyright: ignore[reportAssignmentType]  its decorator hides it
    if not result.is_failed():
        return 0
    codes = {rank: failure.exitcode for rank, failure in result.failures.items()}
    code = exit_code(set(codes.values()))
    if code == FAILED and not folders.failure.exists():
        reason = ended_without_a_word(place.host, codes)
        rendezvous.leave_reason(reason)
        report_failure(folders.failure, reason)
    rendezvous.stay_for_others()
    return code


def _pass_on_sigterm(agent: LocalElasticAgent, stop: StopRequest) -> None:
    """Passes SIGTERM on to the ranks: the platform signals only the container's first process, which is the agent's."""

    def ask(*_: object) -> None:
        pids = [int(worker.id) for worker in agent.get_worker_group().workers if worker.id]
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        if not pids:
            stop.ask()

    signal.signal(signal.SIGTERM, ask)


class _HostRendezvous(StaticTCPRendezvous):
    """torchrun's rendezvous of known hosts; the store is on the first one."""

    def __init__(
        self, place: HostPlace, folders: TrainingFolders, environ: Mapping[str, str], stop: StopRequest
    ) -> None:
        super().__init__("", place.port, place.number, len(place.hosts), "training", READY_SECONDS)
        self._place, self._folders, self._environ, self._stop = place, folders, environ, stop
        self._deadline = time.monotonic() + READY_SECONDS

    def next_rendezvous(self) -> RendezvousInfo:
        place = self._place
        address = self._address(place.hosts[0])
        store = self._listen(address, place.port) if place.number == 0 else self._reach(address, place.port)
        self._store = store
        self._wait_for_all(store)
        bootstrap = RendezvousStoreInfo(address, place.port)
        return RendezvousInfo(PrefixStore("agents", store), place.number, len(place.hosts), bootstrap)

    def leave_reason(self, text: str) -> None:
        """Tells the other hosts' ranks why this host's ranks ended."""
        assert self._store
        with suppress(DistError):  # the first host is gone
            PrefixStore("job", self._store).compare_set("failed", "", text)

    def stay_for_others(self) -> None:
        """Keeps the store until the other hosts have read why this one ended, or for a few seconds."""
        assert self._store
        left = PrefixStore("left", self._store)
        with suppress(DistError):  # the first host is gone
            left.set(self._place.host, "")
            deadline = time.monotonic() + _LAST_WORD_SECONDS
            while self._place.number == 0 and time.monotonic() < deadline and not left.check(list(self._place.hosts)):
                time.sleep(0.1)

    def _address(self, host: str) -> str:
        if len(self._place.hosts) == 1:
            return "127.0.0.1"
        while not (found := self._place.address or address_of(host, self._folders, self._environ)):
            self._check_deadline(f"the address of {host} is not known")
            time.sleep(0.5)
        return found

    def _listen(self, address: str, port: int) -> Store:
        """Opens the store on the host's own address; by default it would listen on all."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            listener = socket.create_server((address, port), family=family, backlog=1024)
        except OSError as e:
            raise RunError(f"can't listen: {e.strerror}", where=f"{address}:{port}", fix="start the job again") from e
        descriptor = listener.detach()  # the store closes it
        return TCPStore(address, port, None, True, self.timeout, wait_for_workers=False, master_listen_fd=descriptor)

    def _reach(self, address: str, port: int) -> Store:
        while not _answers(address, port):
            self._check_deadline(f"{self._place.hosts[0]}, the first host, does not answer at {address}:{port}")
            time.sleep(0.2)
        return TCPStore(address, port, None, False, self.timeout, wait_for_workers=False)

    def _wait_for_all(self, store: Store) -> None:
        arrived = PrefixStore("here", store)
        arrived.set(self._place.host, "")
        while missing := [host for host in self._place.hosts if not arrived.check([host])]:
            self._check_deadline(f"{', '.join(missing)} did not connect")
            time.sleep(0.1)

    def _check_deadline(self, what: str) -> None:
        self._stop.check()
        if time.monotonic() > self._deadline:
            fix = "see that host's log; check that the job's hosts can reach each other (security group, isolation)"
            raise RunError(f"{what} (waited {READY_SECONDS} s)", where=f"hosts {', '.join(self._place.hosts)}", fix=fix)


def _answers(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), _TRY_SECONDS).close()
    except OSError:
        return False
    return True
