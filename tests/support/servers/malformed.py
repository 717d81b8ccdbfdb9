"""Malformed HTTP requests by the thousand, seeded, and what a server answers to them."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

from tests.support.servers.serving import API_KEY

HELLO = [{"role": "user", "content": "Hello"}]
AT_ONCE = 128


def malformed_request(generator: random.Random) -> bytes:
    """A request with a few bytes changed, cut out or put in, or with parts in the wrong place."""
    fields: dict[str, Any] = {"messages": HELLO, "max_tokens": 1, "stop": ["a"], "seed": 1, "stream": False}
    body = _mangled(json.dumps(fields).encode(), generator) if generator.random() < 0.5 else json.dumps(fields).encode()
    path = generator.choice(["/v1/chat/completions", "/invocations", "/", "/v1/models", "/..%2f", "/v1/%00"])
    length = generator.choice([len(body), len(body), len(body) - 9, -1, "x", 10**20])
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {API_KEY}", f"Content-Length: {length}"]
    lines += generator.sample(
        ["Transfer-Encoding: chunked", "Content-Length: 5", "Connection: close", "Expect: 100-continue", "Host: y",
         "Upgrade: h2c", "Content-Encoding: gzip", "X: \x00", "Cookie: " + "a" * 9000], generator.randrange(3)
    )  # fmt: skip
    head = "\r\n".join([*lines, "", ""]).encode()
    return (_mangled(head, generator) if generator.random() < 0.6 else head) + body


def _mangled(data: bytes, generator: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(generator.randrange(1, 5)):
        place = generator.randrange(len(changed))
        changed[place : place + generator.randrange(4)] = generator.randbytes(generator.randrange(4))
    return bytes(changed)


async def first_statuses(port: int, requests: Iterator[bytes]) -> Counter[int]:
    """Of the first answer to each request; 0 where the connection was closed without one."""
    found: Counter[int] = Counter()

    async def client() -> None:
        for request in requests:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(request)
                status = await _status(reader, writer)
                assert status < 500, request
                found[status] += 1
            finally:
                writer.transport.abort()

    async with asyncio.timeout(1200):
        await asyncio.gather(*(client() for _ in range(AT_ONCE)))
    return found


async def _status(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
    try:
        try:
            async with asyncio.timeout(0.1):
                line = await reader.readline()
        except TimeoutError:  # the request is not complete, or waits for its turn: nothing more will come
            writer.write_eof()
            async with asyncio.timeout(120):
                line = await reader.readline()
    except OSError:
        return 0
    return int(line.split()[1]) if line else 0
