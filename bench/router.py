"""Overhead of the router: `python -m bench.router [--seconds 3] [--rounds 3]`.

Requests go to a synthetic token server directly, through a router that hands connections over, and through one that
relays, in turns, at 1, 8 and 16 streams: tokens/s at a fixed pace (40 tokens/s a stream, like a model's; the streams
start one after the other within a token's time) and as fast as the server can write (all start at once, so that their
first tokens queue for one processor). Ratios are of medians over rounds of one run. Processor time is the router's own
per token, including its share of each request.
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
from urllib.parse import parse_qs

import aiohttp
import psutil
import uvloop

from llmops_kit.local_runtime.ports import choose_port
from llmops_kit.local_runtime.routing.balance import Routes
from llmops_kit.local_runtime.routing.router import ROUTES, Router, RouterConfiguration
from llmops_kit.serving.front.exchange import Receive, Scope, Send
from llmops_kit.serving.front.handover import HandOver
from llmops_kit.serving.front.protocol import guarded, http_server, new_guard
from llmops_kit.serving.server_settings import RequestLimits

_EVENT = b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","choices":[{"delta":{"content":" word"}}]}\n\n'


@dataclass
class RouterLoad:
    """Tokens/s over all streams, and each stream's time to first token in ms."""

    tokens_per_second: float
    first_ms: list[float]


def backend(port: int, path: str) -> None:
    """Serves events, `pace` a second (0: without pause), on a port and to a router that hands connections over."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if scope["path"] == "/stream":
            query = parse_qs(scope["query_string"].decode())
            await _stream(int(query["n"][0]), float(query["pace"][0]), send)
        await send({"type": "http.response.body", "body": b""})

    async def serve() -> None:
        guard, server = new_guard(RequestLimits()), http_server(app)
        HandOver(guard, server).open(Path(path))
        listener = await asyncio.get_running_loop().create_server(guarded(guard, server), "127.0.0.1", port)
        await listener.serve_forever()

    uvloop.run(serve())


async def _stream(tokens: int, pace: float, send: Send) -> None:
    start = time.monotonic()
    for i in range(tokens):
        await send({"type": "http.response.body", "body": _EVENT, "more_body": True})
        pause = start + (i + 1) / pace - time.monotonic() if pace else 0
        await asyncio.sleep(max(0.0, pause))


def route(folder: str) -> None:
    """Runs a router; the main function of its process."""
    os.chdir(folder)
    asyncio.run(Router(Path(folder)).run())


@contextmanager
def routed(backend_url: str, handover: Path | None = None) -> Iterator[tuple[str, int]]:
    """Yields URL and pid of a router in front of a server, which takes connections over at a unix socket, if given."""
    port = choose_port("127.0.0.1")
    sockets = {backend_url: str(handover)} if handover else {}
    with tempfile.TemporaryDirectory() as folder:
        RouterConfiguration.new(endpoint="bench", port=port).write(Path(folder, "router.json"))
        route_of = {"weight": 1, "backends": [backend_url], "sockets": sockets}
        Routes.new(variants={"v1": route_of}).write(Path(folder, ROUTES))
        with _process(route, folder) as pid:
            yield f"http://127.0.0.1:{port}", pid


@contextmanager
def servers() -> Iterator[tuple[str, dict[str, tuple[str, int]]]]:
    """Yields the URL of the backend, and URL and pid of each router in front of it, by its way of forwarding."""
    port = choose_port("127.0.0.1")
    direct = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "http.sock")
        with _process(backend, port, str(path)):
            asyncio.run(ready(direct))
            with routed(direct, path) as handed, routed(direct) as relayed:
                yield direct, {"hand-over": handed, "relay": relayed}


@contextmanager
def _process(target: Callable[..., None], *arguments: object) -> Iterator[int]:
    process = multiprocessing.get_context("spawn").Process(target=target, args=arguments)
    process.start()
    try:
        yield process.pid or 0
    finally:
        process.terminate()
        process.join()


async def ready(url: str) -> None:
    """Waits until a server responds."""
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
    """Runs concurrent streams to their ends."""

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


async def compare(
    direct: str, routers: dict[str, tuple[str, int]], seconds: float, rounds: int
) -> list[dict[str, float | str]]:
    """Returns the table's rows."""
    rows: list[dict[str, float | str]] = []
    urls = [direct, *(url for url, _ in routers.values())]
    for url in urls:
        await ready(url)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        for pace in (40.0, 0.0):
            for streams in (1, 8, 16):
                tokens = int(pace * seconds) if pace else int(20_000 / streams)
                loads: dict[str, list[RouterLoad]] = {url: [] for url in urls}
                used = {name: -_processor_time(pid) for name, (_, pid) in routers.items()}
                for _ in range(rounds):
                    for url in urls:
                        loads[url].append(await load(session, url, streams, pace, tokens))
                for name, (url, pid) in routers.items():
                    used[name] += _processor_time(pid)
                    rates = [statistics.median(r.tokens_per_second for r in loads[u]) for u in (direct, url)]
                    firsts = [statistics.median(f for r in loads[u] for f in r.first_ms) for u in (direct, url)]
                    row = {"pace": f"{pace:g}/s" if pace else "unthrottled", "streams": streams, "way": name}
                    row |= {"direct": rates[0], "routed": rates[1], "ratio": rates[1] / rates[0]}
                    row |= {"ttft_added_ms": firsts[1] - firsts[0]}
                    rows.append(row | {"router_us_per_token": 1e6 * used[name] / (rounds * streams * tokens)})
    return rows


def _processor_time(pid: int) -> float:
    return sum(psutil.Process(pid).cpu_times()[:2])


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a paced round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with servers() as (direct, routers):
        rows = asyncio.run(compare(direct, routers, options.seconds, options.rounds))
    if options.json:
        print(json.dumps(rows))
        return
    print("pace         streams  way        direct tok/s  routed tok/s  ratio  added TTFT ms  router CPU us/token")
    for r in rows:
        print(
            f"{r['pace']:<12} {r['streams']:>7}  {r['way']:<9}  {r['direct']:>12.0f}  {r['routed']:>12.0f}"
            f"  {r['ratio']:>5.3f}  {r['ttft_added_ms']:>13.2f}  {r['router_us_per_token']:>19.1f}"
        )


if __name__ == "__main__":
    main()
