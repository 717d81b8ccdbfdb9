"""Overhead of HTTP and the router over the bare engine: `python -m bench.serving [--rounds 5] [--way hand-over]`.

Tokens per second at 1, 8 and 16 streams, the time to the first token, and start to ready against a bare load of the
weights, in one run and in turns. Requests reach the server directly, through the local runtime's router, which hands
connections over as it does for every endpoint, and through a router that relays. Answers are greedy and prompts equal,
so all sides compute the same tokens.
"""

import argparse
import asyncio
import json
import os
import re
import select
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.router import ready, routed
from llmops_kit.core.network.handover import SOCKET_VARIABLE
from llmops_kit.core.programs import import_path
from llmops_kit.serving.prompts import Prompts
from tests.support.servers.serving import API_KEY, ServingProcess, sign_version
from tests.support.tiny_models.models import BASE_ALIAS, base_model, copy_model

_TOKENS = 256
STREAMS = (1, 8, 16)
_WAYS = ("direct", "hand-over", "relay")
_TOPICS = ("a lighthouse", "a train in the snow", "two rivers", "an old library", "a market", "the sea at night",
           "a bridge", "a garden", "a clockmaker", "a long road", "a mountain hut", "a small theatre", "a harbour",
           "an orchard", "a ferry", "a letter")  # fmt: skip
_BARE = """
import json, statistics, sys, time
import numpy, openvino
from openvino_genai import ContinuousBatchingPipeline, GenerationConfig, SchedulerConfig

scheduler = SchedulerConfig()
scheduler.max_num_batched_tokens, scheduler.enable_prefix_caching = 256, False
properties = {} if sys.argv[2] == "auto" else {"INFERENCE_PRECISION_HINT": sys.argv[2]}
if sys.argv[2] == "f32":
    properties["KV_CACHE_PRECISION"] = "f32"
pipeline = ContinuousBatchingPipeline(sys.argv[1], scheduler, "CPU", properties)
numbers = 0
for line in sys.stdin:
    prompts, stop_ids, tokens = json.loads(line)
    config = GenerationConfig(max_new_tokens=tokens)
    config.eos_token_id, config.stop_token_ids = stop_ids[0], set(stop_ids)
    started, handles, first, total = time.perf_counter(), [], {}, 0
    for prompt in prompts:
        tensor = openvino.Tensor(numpy.array([prompt], dtype=numpy.int64))
        handles.append(pipeline.add_request(numbers, tensor, config))
        numbers += 1
    while pipeline.has_non_finished_requests():
        pipeline.step()
        for i, handle in enumerate(handles):
            while handle.can_read():
                first.setdefault(i, time.perf_counter() - started)
                total += sum(len(o.generated_ids) for o in handle.read().values())
    seconds = time.perf_counter() - started
    print(json.dumps({"tokens": total, "seconds": seconds, "first": statistics.median(first.values())}), flush=True)
"""


@dataclass
class Wave:
    """Result of streams that started together."""

    tokens: int
    seconds: float
    first: float
    """Median seconds to a stream's first token."""

    @property
    def speed(self) -> float:
        """Tokens per second, all streams together."""
        return self.tokens / self.seconds


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precision", choices=("auto", "f32", "bf16"), default="auto")
    parser.add_argument("--way", action="append", choices=_WAYS, help="how to ask; again for another; default: all")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-serving-") as name:
        folder = Path(name)
        version = copy_model(base_model(), folder / "model")
        sign_version(version, folder)
        _starts(version, folder, options)
        with _engine(version, options.precision) as engine, _servers(version, folder, options) as addresses:
            _waves(Prompts.of(version), engine, addresses, options.rounds)


# --- start


def _starts(version: Path, folder: Path, options: argparse.Namespace) -> None:
    bare, ready = [], []
    for _ in range(options.rounds):
        bare.append(_timed_load(version, options.precision))
        ready.append(_timed_start(version, folder, options.precision))
    load, start = statistics.median(bare), statistics.median(ready)
    print(f"{'':24} {'bare':>9} {'served':>9} {'ratio':>7}")
    print(f"{'start to ready, s':24} {load:9.2f} {start:9.2f} {start / load:7.2f}")


def _timed_load(version: Path, precision: str) -> float:
    started = time.perf_counter()
    subprocess.run(_bare(version, precision), check=True, stdin=subprocess.DEVNULL)
    return time.perf_counter() - started


def _timed_start(version: Path, folder: Path, precision: str) -> float:
    started = time.perf_counter()
    server = ServingProcess(version, folder, folder, LLMOPS_MODEL_NAME=BASE_ALIAS, LLMOPS_PRECISION=precision)
    try:
        while "serving: ready after" not in server.log.read_text():
            if server.process.poll() is not None:
                raise SystemExit(server.log.read_text())
            time.sleep(0.005)
        return time.perf_counter() - started
    finally:
        server.kill()


# --- waves


def _waves(prompts: Prompts, engine: subprocess.Popen[str], addresses: dict[str, tuple[str, int]], rounds: int) -> None:
    texts = prompts_for(max(STREAMS))
    alone = _Alone(engine, prompts)
    clients = {way: Client(a, "/v1/chat/completions", f"Bearer {API_KEY}") for way, a in addresses.items()}
    asked: dict[str, Client | _Alone] = {"engine": alone, **clients}

    def ask(way: str, streams: slice, tokens: int = _TOKENS) -> Wave:
        return asked[way].wave(texts[streams], tokens)

    ways = [*asked]

    def show(label: str, values: Sequence[float]) -> None:
        print(f"{label:28}" + "".join(f" {value:9.1f}" for value in values), flush=True)

    print(f"{'':28}" + "".join(f" {way:>9}" for way in ways) + "   ratios")
    idle = _first_when_idle(ask, ways, len(texts))
    show("first token ms, idle, p50", [statistics.median(idle[way]) for way in ways])
    show("first token ms, idle, p99", [statistics.quantiles(idle[way], n=100, method="inclusive")[-1] for way in ways])
    for streams in STREAMS:
        waves: dict[str, list[Wave]] = {way: [] for way in ways}
        for turn in range(rounds + 1):  # the first is for warming up
            for way in ways[:: 1 if turn % 2 else -1]:
                wave = ask(way, slice(streams))
                if turn:
                    waves[way].append(wave)
        speeds = {way: [wave.speed for wave in some] for way, some in waves.items()}
        shown = "".join(f" {statistics.median(speeds[way]):9.1f}" for way in ways)
        ratios = "".join(f" {_ratio(speeds[way], speeds['engine']):7.3f}" for way in clients)
        print(f"{f'tokens/s, {streams} streams':28}{shown}  {ratios}", flush=True)
        show(
            f"first token ms, {streams} at once",
            [statistics.median(w.first * 1000 for w in waves[way]) for way in ways],
        )


def _ratio(speeds: Sequence[float], engine: Sequence[float]) -> float:
    """Returns the median of the turns' ratios: waves of one turn run close together, on a machine whose speed
    drifts.
    """
    return statistics.median(one / bare for one, bare in zip(speeds, engine, strict=True))


def _first_when_idle(ask: Callable[[str, slice, int], Wave], ways: list[str], prompts: int) -> dict[str, list[float]]:
    """Returns milliseconds to the first token of single requests, sent in turns."""
    firsts: dict[str, list[float]] = {way: [] for way in ways}
    for place in [*range(prompts)] * 2:
        for way in ways:
            firsts[way].append(ask(way, slice(place, place + 1), 4).first * 1000)
    return firsts


class _Alone:
    """openvino-genai in its own process, driven by a bare loop, with the tokenizer before it."""

    def __init__(self, process: subprocess.Popen[str], prompts: Prompts) -> None:
        self._process = process
        self._prompts = prompts

    def wave(self, texts: list[str], tokens: int = _TOKENS) -> Wave:
        """Sends all prompts at once, as Client does."""
        assert self._process.stdin
        assert self._process.stdout
        started = time.perf_counter()
        ids = [self._prompts.encode([{"role": "user", "content": text}]) for text in texts]
        encoding = time.perf_counter() - started
        print(json.dumps([ids, self._prompts.stop_ids, tokens]), file=self._process.stdin, flush=True)
        wave = Wave(**json.loads(self._process.stdout.readline()))
        return Wave(wave.tokens, wave.seconds + encoding, wave.first + encoding)


class Client:
    """A minimal client: it looks for frames, and parses only the usage."""

    def __init__(
        self,
        address: tuple[str, int],
        path: str,
        authorization: str | Callable[[bytes], Mapping[str, str]],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`authorization`: the header, or a function that returns the headers that sign a body."""
        self._address = address
        self._tls = tls
        self._head = f"POST {path} HTTP/1.1\r\nHost: {address[0]}:{address[1]}\r\nContent-Type: application/json\r\n"
        self._authorization = authorization

    def wave(self, texts: list[str], tokens: int = _TOKENS) -> Wave:
        """Sends all prompts at once, each on its own connection, and reads the answers to their ends."""
        sockets = [self._connected() for _ in texts]
        requests = [self._request(text, tokens) for text in texts]
        started = time.perf_counter()
        for sock, request in zip(sockets, requests, strict=True):
            sock.sendall(request)
        received = {sock: bytearray() for sock in sockets}
        first: dict[socket.socket, float] = {}
        open_ = set(sockets)
        while open_:
            for sock in select.select(open_, [], [])[0]:
                data = _received(sock)
                if b'"delta"' in data:
                    first.setdefault(sock, time.perf_counter() - started)
                received[sock] += data
                if not data or b"[DONE]" in data:
                    open_.discard(sock)
        seconds = time.perf_counter() - started
        for sock in sockets:
            sock.close()
        count = sum(_completion_tokens(bytes(data)) for data in received.values())
        return Wave(count, seconds, statistics.median(first.values()))

    def _connected(self) -> socket.socket:
        sock = socket.create_connection(self._address)
        return self._tls.wrap_socket(sock, server_hostname=self._address[0]) if self._tls else sock

    def _request(self, text: str, tokens: int) -> bytes:
        fields: dict[str, Any] = {"messages": [{"role": "user", "content": text}], "max_tokens": tokens}
        fields |= {"temperature": 0, "stream": True, "stream_options": {"include_usage": True}}
        body = json.dumps(fields).encode()
        signed = self._authorization
        headers = {"Authorization": signed} if isinstance(signed, str) else signed(body)
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"{self._head}{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body


def _received(sock: socket.socket) -> bytes:
    """Returns the bytes that can be read now, with everything that TLS has already decrypted."""
    data = sock.recv(1 << 16)
    while isinstance(sock, ssl.SSLSocket) and sock.pending():
        data += sock.recv(sock.pending())
    return data


def _completion_tokens(received: bytes) -> int:
    found = re.search(rb'"completion_tokens":\s*(\d+)', received)
    if not found:
        raise SystemExit(received[-2000:].decode(errors="replace"))
    return int(found[1])


def prompts_for(streams: int) -> list[str]:
    """Returns at most 16 prompts that ask for long answers."""
    return [f"Write a long story about {topic}." for topic in _TOPICS[:streams]]


# --- both sides


def _bare(version: Path, precision: str) -> list[str]:
    return [sys.executable, "-c", _BARE, str(version / "openvino"), precision]


@contextmanager
def _engine(version: Path, precision: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        _bare(version, precision), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        assert process.stdin
        process.stdin.close()


@contextmanager
def _servers(version: Path, folder: Path, options: argparse.Namespace) -> Iterator[dict[str, tuple[str, int]]]:
    """Yields the addresses of a server, by way of access."""
    sockets = folder / "handover"
    sockets.mkdir(mode=0o700)
    named = {"LLMOPS_MODEL_NAME": BASE_ALIAS, "LLMOPS_PRECISION": options.precision}
    named[SOCKET_VARIABLE] = str(sockets / "http.sock")
    server = ServingProcess(version, folder, folder, **named).wait_ready()
    try:
        with routed(server.url, sockets / "http.sock") as (handed, _), routed(server.url) as (relayed, _):
            urls = dict(zip(_WAYS, (server.url, handed, relayed), strict=True))
            for url in urls.values():
                asyncio.run(ready(url))
            yield {way: ("127.0.0.1", urlsplit(urls[way]).port or 0) for way in options.way or _WAYS}
    finally:
        server.process.send_signal(signal.SIGTERM)
        server.process.wait()


if __name__ == "__main__":
    os.environ.setdefault("PYTHONPATH", import_path())
    main()
