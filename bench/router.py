"""What the router costs: `python bench/router.py [--seconds 3] [--rounds 3]`.

A synthetic token server, asked directly and through the router in turns, at 1, 8 and 16 streams: tokens/s at a fixed
pace (40 tokens/s a stream, as a model gives them; the streams start one after the other within a token's time) and as
fast as the server can write (all start at once, so that their first tokens queue for one processor).
Ratios are of medians over rounds of one run. Processor time is the router's own, for one token.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import psutil
from aiohttp import web

from hosting.balance import Routes
from hosting.ports import choose_port
from hosting.router import ROUTES, Router, RouterConfiguration

_EVENT = b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","choices":[{"delta":{"content":" word"}}]}\n\n'


@dataclass
class RouterLoad:
    """Tokens/s over all streams, and each stream's time to first token in ms."""

    tokens_per_second: float
    first_ms: list[float]


def backend(port: int) -> None:
    """Stream events, `pace` a second (0: without pause), for ever."""

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        pace = float(request.query["pace"])
        start = time.monotonic()
        for i in range(int(request.query["n"])):
            await response.write(_EVENT)
            pause = start + (i + 1) / pace - time.monotonic() if pace else 0
            await asyncio.sleep(max(0.0, pause))
        return response

    async def ping(_request: web.Request) -> web.Response:
        return web.Response()

    app = web.Application()
    app.add_routes([web.post("/stream", stream), web.get("/ping", ping)])
    web.run_app(app, host="127.0.0.1", port=port, print=lambda *_: None, access_log=None)


def route(folder: str) -> None:
    """The router's process."""
    os.chdir(folder)
    asyncio.run(Router(Path(folder)).run())


@contextmanager
def routed(backend_url: str) -> Iterator[tuple[str, int]]:
    """URL and process of a router in front of a server."""
    port = choose_port("127.0.0.1")
    with tempfile.TemporaryDirectory() as folder:
        RouterConfiguration.new(endpoint="bench", port=port).write(Path(folder, "router.json"))
        Routes.new(variants={"v1": {"weight": 1, "backends": [backend_url]}}).write(Path(folder, ROUTES))
        with _process(route, folder) as pid:
            yield f"http://127.0.0.1:{port}", pid


@contextmanager
def servers() -> Iterator[tuple[str, str, int]]:
    """URLs of the backend and of the router in front of it, and the router's process."""
    port = choose_port("127.0.0.1")
    direct = f"http://127.0.0.1:{port}"
    with _process(backend, port), routed(direct) as (url, pid):
        yield direct, url, pid


@contextmanager
def _process(target: Callable[..., None], argument: object) -> Iterator[int]:
    process = multiprocessing.get_context("spawn").Process(target=target, args=(argument,))
    process.start()
    try:
        yield process.pid or 0
    finally:
        process.terminate()
        process.join()


async def ready(url: str) -> None:
    """Wait until a server answers."""
    async with aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(f"{url}/ping") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.05)


async def load(session: aiohttp.ClientSession, url: str, streams: int, pace: float, tokens: int) -> RouterLoad:
    """Run so many streams at once to their ends."""

    async def one(number: int) -> float:
        await asyncio.sleep(number / streams / pace if pace else 0)
        start = time.monotonic()
        first = 0.0
        body = {"messages": [{"role": "user", "content": "word " * 120}]}
        async with session.post(f"{url}/stream?n={tokens}&pace={pace}", json=body) as answer:
            received = 0
            async for chunk in answer.content.iter_any():
                first = first or 1000 * (time.monotonic() - start)
                received += len(chunk)
        assert received == tokens * len(_EVENT)
        return first

    start = time.monotonic()
    firsts = await asyncio.gather(*(one(i) for i in range(streams)))
    return RouterLoad(streams * tokens / (time.monotonic() - start), firsts)


async def compare(direct: str, routed: str, pid: int, seconds: float, rounds: int) -> list[dict[str, float | str]]:
    """The table's rows."""
    rows: list[dict[str, float | str]] = []
    for url in (direct, routed):
        await ready(url)
    process = psutil.Process(pid)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        for pace in (40.0, 0.0):
            for streams in (1, 8, 16):
                tokens = int(pace * seconds) if pace else int(20_000 / streams)
                loads: dict[str, list[RouterLoad]] = {direct: [], routed: []}
                used = sum(process.cpu_times()[:2])
                for i in range(2 * rounds):
                    url = (direct, routed)[i % 2]
                    loads[url].append(await load(session, url, streams, pace, tokens))
                used = sum(process.cpu_times()[:2]) - used
                rates = [statistics.median(r.tokens_per_second for r in loads[u]) for u in (direct, routed)]
                firsts = [statistics.median(f for r in loads[u] for f in r.first_ms) for u in (direct, routed)]
                row = {"pace": f"{pace:g}/s" if pace else "unthrottled", "streams": streams, "direct": rates[0]}
                row |= {"routed": rates[1], "ratio": rates[1] / rates[0], "ttft_added_ms": firsts[1] - firsts[0]}
                rows.append(row | {"router_us_per_token": 1e6 * used / (rounds * streams * tokens)})
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a paced round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with servers() as (direct, routed, pid):
        rows = asyncio.run(compare(direct, routed, pid, options.seconds, options.rounds))
    if options.json:
        print(json.dumps(rows))
        return
    print("pace         streams  direct tok/s  routed tok/s  ratio  added TTFT ms  router CPU us/token")
    for r in rows:
        print(
            f"{r['pace']:<12} {r['streams']:>7}  {r['direct']:>12.0f}  {r['routed']:>12.0f}  {r['ratio']:>5.3f}"
            f"  {r['ttft_added_ms']:>13.2f}  {r['router_us_per_token']:>19.1f}"
        )


if __name__ == "__main__":
    main()
