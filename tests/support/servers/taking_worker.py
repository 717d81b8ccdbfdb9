"""A worker that takes connections, with a small app: `python -m tests.support.servers.taking_worker PORT SOCKET`."""

import asyncio
import json
import os
import sys
from pathlib import Path
from urllib.parse import parse_qs

import uvloop

from llmops_kit.serving.front.exchange import Message, Receive, Scope, Send
from llmops_kit.serving.front.handover import HandOver
from llmops_kit.serving.front.protocol import guarded, http_server, new_guard
from llmops_kit.serving.server_settings import RequestLimits

_left = 0


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """/who says who answered whom, /stream sends frames, /echo the body; /die ends the process once."""
    global _left
    query = {name: values[0] for name, values in parse_qs(scope["query_string"].decode()).items()}
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    if scope["path"] == "/die" and Path(query["flag"]).exists():
        Path(query["flag"]).unlink()
        os._exit(3)
    await send(
        {
            "type": "http.response.start",
            "status": int(query.get("status", 200)),
            "headers": [(b"x-pid", b"%d" % os.getpid())],
        }
    )
    if scope["path"] == "/stream":
        await _stream(query, receive, send)
        return
    if scope["path"] != "/echo":
        seen = sorted(name.decode() for name, _ in scope["headers"])
        body = json.dumps({"pid": os.getpid(), "peer": scope["client"][1], "left": _left, "seen": seen})
        body = body.encode()
    await send({"type": "http.response.body", "body": body})


async def _stream(query: dict[str, str], receive: Receive, send: Send) -> None:
    """Sends `n` frames; then waits for a file `until`, or for the client to leave."""
    global _left
    gone = asyncio.ensure_future(receive())
    for number in range(int(query["n"])):
        frame: Message = {"type": "http.response.body", "body": b"data: %d\n\n" % number, "more_body": True}
        await send(frame)
    while "until" in query and not Path(query["until"]).exists() and not gone.done():
        await asyncio.sleep(0.01)
    if gone.done():
        _left += 1
    gone.cancel()
    await send({"type": "http.response.body", "body": b"data: end\n\n"})


async def serve(port: int, path: Path) -> None:
    guard, server = new_guard(RequestLimits(max_connections=4096, max_connections_per_address=4096)), http_server(app)
    handover = HandOver(guard, server)
    handover.open(path)
    await asyncio.get_running_loop().create_server(guarded(guard, server), "127.0.0.1", port, backlog=1024)
    await asyncio.Event().wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(int(sys.argv[1]), Path(sys.argv[2])))
