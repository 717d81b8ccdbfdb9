"""Ten times the load that a server can handle: `python -m bench.overload [--rounds 5] [--seconds 5]`.

First as many clients as the server has places send one request after the other; then requests arrive at ten times the
rate of those answers, whatever the responses. Prints for each round the p99 of refusals and of concurrent requests
without any work (/ping), in ms, and the p99 of accepted requests relative to that at capacity. With a second processor,
server and engine run on one, and the clients on the other. At the end: the server's memory, before and after.
"""

import argparse
import asyncio
import json
import os
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from llmops_kit.core.programs import import_path
from tests.support.servers.serving import API_KEY, ServingProcess, sign_version
from tests.support.tiny_models.models import copy_model, tiny_model

_TOKENS = 300
_RUNNING = _QUEUE = 2
_PAUSE_SECONDS = 0.02


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each half of a round")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-overload-") as name:
        folder = Path(name)
        version = copy_model(tiny_model(), folder / "model")
        sign_version(version, folder)
        limits = {"LLMOPS_MAX_RUNNING": str(_RUNNING), "LLMOPS_MAX_QUEUE": str(_QUEUE), "LLMOPS_THREADS": "1"}
        server = ServingProcess(version, folder, folder, **limits).wait_ready()
        try:
            with _apart(server):
                _rounds(server, options.rounds, options.seconds)
        finally:
            server.kill()


def _rounds(server: ServingProcess, rounds: int, seconds: float) -> None:
    processes = [psutil.Process(pid) for pid in (server.process.pid, server.engine_pid())]
    before: list[int] = []
    print(f"{'accepted':>8} {'refused':>8} {'refusal p99 ms':>15} {'/ping p99 ms':>13} {'accepted p99 / capacity':>24}")
    for number in range(rounds + 1):  # the first is for warming up
        usual = asyncio.run(_at_capacity(server.port, seconds))
        found, pings = asyncio.run(_overloaded(server.port, 10 * len(usual) / seconds, seconds))
        if strange := found.keys() - {200, 429}:
            raise SystemExit(f"answered {sorted(strange)}")
        if not number:
            before = [process.memory_info().rss for process in processes]
            continue
        accepted, refused = found[200], found[429]
        print(f"{len(accepted):8} {len(refused):8} {_p99(refused) * 1000:15.1f} {_p99(pings) * 1000:13.1f} "
              f"{_p99(accepted) / _p99(usual):24.2f}")  # fmt: skip
    for name, process, first in zip(("server", "engine"), processes, before, strict=True):
        print(f"memory of the {name}: {first / 1e6:.1f} MB, then {process.memory_info().rss / 1e6:.1f} MB")


@contextmanager
def _apart(server: ServingProcess) -> Iterator[None]:
    """Pins the server and its engine to one processor, and this process to another, if there are two."""
    processors = sorted(os.sched_getaffinity(0))
    if len(processors) > 1:
        for pid in (server.process.pid, server.engine_pid()):
            for task in Path(f"/proc/{pid}/task").iterdir():
                os.sched_setaffinity(int(task.name), {processors[0]})
        os.sched_setaffinity(0, {processors[1]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, processors)


async def _at_capacity(port: int, seconds: float) -> list[float]:
    """Returns the seconds of answers while there are as many clients as places."""
    end = asyncio.get_running_loop().time() + seconds
    answers: list[float] = []

    async def client() -> None:
        while asyncio.get_running_loop().time() < end:
            status, took = await _ask(port)
            if status != 200:
                raise SystemExit(f"answered {status} at capacity")
            answers.append(took)

    await asyncio.gather(*(client() for _ in range(_RUNNING + _QUEUE)))
    return answers


async def _overloaded(port: int, rate: float, seconds: float) -> tuple[dict[int, list[float]], list[float]]:
    """Returns status -> seconds of requests that arrive at a rate, and the seconds of /ping meanwhile."""
    pings: list[float] = []

    async def pinging() -> None:
        while True:
            pings.append((await _ask(port, "GET /ping"))[1])
            await asyncio.sleep(_PAUSE_SECONDS)

    beside = asyncio.create_task(pinging())
    asked: list[asyncio.Task[tuple[int, float]]] = []
    for _ in range(int(rate * seconds)):
        asked.append(asyncio.create_task(_ask(port)))
        await asyncio.sleep(1 / rate)
    found: dict[int, list[float]] = {}
    for status, took in await asyncio.gather(*asked):
        found.setdefault(status, []).append(took)
    beside.cancel()
    return found, pings


async def _ask(port: int, what: str = "POST /invocations") -> tuple[int, float]:
    """Returns status and seconds of a request on its own connection."""
    body = json.dumps({"messages": [{"role": "user", "content": "Hello"}], "max_tokens": _TOKENS, "temperature": 0})
    head = f"{what} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {API_KEY}\r\nConnection: close\r\n"
    loop = asyncio.get_running_loop()
    begun = loop.time()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
    answer = await reader.read()
    writer.close()
    return int(answer.split()[1]), loop.time() - begun


def _p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[98]


if __name__ == "__main__":
    os.environ.setdefault("PYTHONPATH", import_path())
    main()
