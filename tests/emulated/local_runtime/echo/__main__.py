"""A small server that streams like a model's: the image of these tests. Behaviour by environment and by request."""

import asyncio
import os
import signal
import sys
from pathlib import Path

from aiohttp import web

VERSION = os.environ.get("VERSION", "1")
cancelled = 0
kept: list[object] = [b"x" * (int(os.environ.get("GROWN", "0")) << 20)]


async def ping(_request: web.Request) -> web.Response:
    ready = Path(os.environ.get("READY_FILE", "/")).exists()
    return web.Response(status=int(os.environ.get("PING", "200")) if ready else 503)


async def echo(request: web.Request) -> web.Response:
    body = await request.read()
    if b"fail" in body or os.environ.get("FAIL"):
        return web.Response(status=500, text="as asked")
    headers = {"X-Seen": ",".join(sorted(request.headers)), "X-Path": request.raw_path, "Connection": "X-Hop"}
    answer = VERSION.encode() if body in (b"", b"version") else body
    return web.Response(body=answer, headers=headers | {"X-Hop": "1", "X-Pid": str(os.getpid())})


async def stream(request: web.Request) -> web.StreamResponse:
    """`n` chunks of `size` bytes, `pause` seconds apart; the process dies after chunk `die`."""
    global cancelled
    values = {k: float(v) for k, v in request.query.items()}
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    try:
        await response.prepare(request)
        for i in range(int(values.get("n", 10))):
            await response.write(f"data: {VERSION} {i}\n\n".encode().ljust(int(values.get("size", 0)), b"."))
            if i == values.get("die", -1):
                os.kill(os.getpid(), signal.SIGKILL)
            await asyncio.sleep(values.get("pause", 0.01))
        await response.write_eof()
    except (asyncio.CancelledError, ConnectionError):
        cancelled += 1
        raise
    return response


async def count(_request: web.Request) -> web.Response:
    return web.Response(text=str(cancelled))


async def grow(request: web.Request) -> web.Response:
    """Takes `mb` MiB of memory, in a process of its own if `child` is given, and keeps them."""
    size = int(request.query["mb"]) << 20
    if "child" in request.query:
        program = f"import time; kept = b'x' * {size}; print(flush=True); time.sleep(1e6)"
        child = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
        assert child.stdout
        await child.stdout.readline()
        kept.append(child)
    else:
        kept.append(b"x" * size)
    return web.Response(text=str(os.getpid()))


async def die(_request: web.Request) -> web.Response:
    os._exit(3)


def main() -> None:
    print(f"version {VERSION} starts", flush=True)
    print(os.environ.get("SAYS", ""), flush=True)
    if "CRASH" in os.environ:
        sys.exit(os.environ["CRASH"])
    app = web.Application(client_max_size=1 << 30)
    app.add_routes([web.get("/ping", ping), web.get("/stream", stream), web.get("/cancelled", count)])
    app.add_routes([web.get("/grow", grow)])
    app.add_routes([web.route("*", "/die", die), web.route("*", "/{path:.*}", echo)])
    port = int(os.environ["SAGEMAKER_BIND_TO_PORT"])
    web.run_app(app, host=os.environ["LLMOPS_BIND"], port=port, handler_cancellation=True, access_log=None)


main()
