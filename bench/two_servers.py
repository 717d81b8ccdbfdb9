"""Two servers compared over HTTP within one run, for `bench.llama_server` and `bench.vllm_front`."""

import os
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

from bench.serving import STREAMS, Client, prompts_for
from contract.documents.model import ModelManifest
from contract.layout import MANIFEST
from tests.support.servers.serving import API_KEY, ServingProcess

_START_SECONDS = 900.0


def compare(ours: "BenchedServer", theirs: "BenchedServer", rounds: int, names: tuple[str, str]) -> None:
    """Prints tokens per second of two servers, and their ratio, at each number of streams.

    Args:
        ours: the one server.
        theirs: the other.
        rounds: measured ones; one more warms up.
        names: of the servers, in the table's head.
    """
    texts = prompts_for(max(STREAMS))
    print(f"{'':12} {'tokens/s':>27}   {'tokens a processor second':>27}")
    print(f"{'':12} {names[0]:>9} {names[1]:>9} {'ratio':>7}   {names[0]:>9} {names[1]:>9} {'ratio':>7}")
    for streams in STREAMS:
        rows: list[tuple[float, float, float, float]] = []
        for turn in range(rounds + 1):  # the first is for warming up
            order = (ours, theirs) if turn % 2 else (theirs, ours)
            figures = {server.pid: server.measured(texts[:streams]) for server in order}
            if turn:
                rows.append((*figures[ours.pid], *figures[theirs.pid]))
        shown = ""
        for first in (0, 1):
            mine, other = (statistics.median(row[place] for row in rows) for place in (first, first + 2))
            ratio = statistics.median(row[first] / row[first + 2] for row in rows)
            shown += f" {mine:9.1f} {other:9.1f} {ratio:7.2f}  "
        print(f"{f'{streams} streams':12}{shown.rstrip()}", flush=True)


class BenchedServer:
    """A running server, and a client of it."""

    def __init__(self, pid: int, port: int) -> None:
        self.pid = pid
        self._client = Client(("127.0.0.1", port), "/v1/chat/completions", f"Bearer {API_KEY}")

    def measured(self, texts: list[str]) -> tuple[float, float]:
        """Returns tokens per second, and per second of its processes' time, of streams that start together."""
        before = self._processor_seconds()
        wave = self._client.wave(texts)
        return wave.speed, wave.tokens / (self._processor_seconds() - before)

    def resident(self) -> float:
        """Returns its processes' resident memory, in MB."""
        return sum(each.memory_info().rss for each in self._processes()) / 1e6

    def _processes(self) -> list[psutil.Process]:
        process = psutil.Process(self.pid)
        return [process, *process.children(recursive=True)]

    def _processor_seconds(self) -> float:
        return sum(sum(each.cpu_times()[:2]) for each in self._processes())


@contextmanager
def our_server(
    version: Path, folder: Path, python: Path | str = sys.executable, **settings: str
) -> Iterator[BenchedServer]:
    """Yields the kit's server of a signed version, ready.

    Args:
        version: the version's folder.
        folder: with the key that signed it; gets the log.
        python: of the image.
        settings: its environment.
    """
    name = f"{ModelManifest.load(version / MANIFEST).name}@1"
    server = ServingProcess(version, folder, folder, python=python, LLMOPS_MODEL_NAME=name, **settings)
    try:
        server.wait_ready(_START_SECONDS)
        yield BenchedServer(server.process.pid, server.port)
    finally:
        server.kill()


@contextmanager
def started(
    command: list[str], port: int, log: Path, environ: Mapping[str, str] = os.environ
) -> Iterator[BenchedServer]:
    """Yields another server, once it says that it is healthy.

    Raises:
        SystemExit: it ended; with the end of its log.
    """
    with log.open("w") as out, subprocess.Popen(command, env=environ, stdout=out, stderr=out) as process:
        try:
            while not _healthy(port):
                if process.poll() is not None:
                    raise SystemExit(log.read_text()[-2000:])
                time.sleep(0.1)
            yield BenchedServer(process.pid, port)
        finally:
            process.terminate()


def _healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=60) as answer:
            return answer.status == 200
    except (TimeoutError, urllib.error.URLError, ConnectionError):
        return False
