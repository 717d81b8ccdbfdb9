"""Compares two servers over HTTP within one run, for `bench.llama_server` and `bench.vllm_front`."""

import os
import random
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.serving import STREAMS, Client, prompts_for
from llmops_kit.core.documents.model import ModelManifest
from llmops_kit.core.layout import MANIFEST
from llmops_kit.serving.prompts import Prompts
from tests.support.servers.serving import API_KEY, ServingProcess

_START_SECONDS = 900.0
_WORDS = ("river", "stone", "winter", "market", "candle", "bridge", "doctor", "silver", "garden", "letter", "thunder",
           "village", "captain", "music", "window", "shadow", "forest", "kitchen", "engine", "morning", "island",
           "soldier", "mirror", "sailor")  # fmt: skip


@dataclass(frozen=True)
class Workload:
    """Prompts that both servers get in each turn, and the length of answers; results in one table.

    Attributes:
        name: the table's title.
        prompts: of a turn, for a number of streams.
        tokens: of an answer, at most.
    """

    name: str
    prompts: Callable[[int, int], list[str]]
    tokens: int


def _new_prompts(turn: int, streams: int) -> list[str]:
    chosen = random.Random(f"{turn} {streams}")
    lists = [", ".join(chosen.choices(_WORDS, k=41)) for _ in range(streams)]
    return [f"{words}: write a long story with all of these in it." for words in lists]


DECODING = Workload("long answers to the same short prompts in each turn", lambda _, streams: prompts_for(streams), 256)
WHOLE_REQUESTS = Workload("short answers to prompts that are new in each turn", _new_prompts, 64)
"""No cache has the prompts' tokens, as with users' requests, so prefill is part of the answers' time."""


def compare(
    ours: "BenchedServer",
    theirs: "BenchedServer",
    rounds: int,
    names: tuple[str, str],
    workload: Workload,
    prompts: Prompts,
) -> None:
    """Prints tokens per second of two servers, and their ratio, at each number of streams.

    Args:
        ours: the first server.
        theirs: the second one.
        rounds: measured ones; one more warms up.
        names: of the servers, in the table's header.
        workload: the prompts.
        prompts: of the model, to count tokens.
    """
    lengths = [len(prompts.encode([{"role": "user", "content": text}])) for text in workload.prompts(0, max(STREAMS))]
    print(f"{workload.name}: {statistics.median(lengths):.0f} tokens, {workload.tokens} of an answer")
    print(f"{'':12} {'tokens/s':>27}   {'tokens a processor second':>27}")
    print(f"{'':12} {names[0]:>9} {names[1]:>9} {'ratio':>7}   {names[0]:>9} {names[1]:>9} {'ratio':>7}")
    for streams in STREAMS:
        rows: list[tuple[float, float, float, float]] = []
        for turn in range(rounds + 1):  # the first is for warming up
            order = (ours, theirs) if turn % 2 else (theirs, ours)
            texts = workload.prompts(turn, streams)
            measured = {server.pid: server.measured(texts, workload.tokens) for server in order}
            if turn:
                rows.append((*measured[ours.pid], *measured[theirs.pid]))
        shown = ""
        for first in (0, 1):
            mine, other = (statistics.median(row[place] for row in rows) for place in (first, first + 2))
            ratio = statistics.median(row[first] / row[first + 2] for row in rows)
            shown += f" {mine:9.1f} {other:9.1f} {ratio:7.2f}  "
        print(f"{f'{streams} streams':12}{shown.rstrip()}", flush=True)


class BenchedServer:
    """A running server, and its client."""

    def __init__(self, pid: int, port: int) -> None:
        self.pid = pid
        self._client = Client(("127.0.0.1", port), "/v1/chat/completions", f"Bearer {API_KEY}")

    def measured(self, texts: list[str], tokens: int) -> tuple[float, float]:
        """Returns tokens per second, and per second of its processes' time, of streams that start together."""
        before = self._processor_seconds()
        wave = self._client.wave(texts, tokens)
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
    """Yields another server, once its health check passes.

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
