"""Relays a request to a backend over HTTP, and streams its answer back: for images that take no connections."""

import time

import aiohttp
from aiohttp import hdrs, web
from yarl import URL

from llmops_kit.local_runtime.routing.balance import Backend
from llmops_kit.local_runtime.routing.forwarding import VARIANT_HEADER, LongBody, NotAnsweredError, end_to_end


def client_session() -> aiohttp.ClientSession:
    """Returns a client that changes neither headers nor bodies. Its connections have no limit: a backend limits its
    requests itself.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=15, force_close=False),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=5),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=(hdrs.USER_AGENT, hdrs.ACCEPT, hdrs.ACCEPT_ENCODING, hdrs.CONTENT_TYPE),
    )


class Relay:
    """Forwards requests through this process."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def answer(
        self, request: web.BaseRequest, body: bytes | LongBody, backend: Backend, start: float
    ) -> web.StreamResponse | None:
        """Returns the backend's answer, which was sent to the client already; None if it was cut.

        Args:
            request: the client's.
            body: its body.
            backend: gets the request.
            start: when it was sent, on the monotonic clock.

        Raises:
            NotAnsweredError: the backend gave no answer.
        """
        upstream = None
        try:
            upstream = await self._open(request, body, backend)
            if isinstance(upstream, web.Response):
                return upstream
            if upstream.status >= 500:
                backend.errors += 1
            return await _pass_on(request, upstream, backend, start)
        finally:
            if isinstance(upstream, aiohttp.ClientResponse):
                # An unfinished answer: closing the connection tells the backend that the client is gone.
                upstream.release() if upstream.content.at_eof() else upstream.close()

    async def _open(
        self, request: web.BaseRequest, body: bytes | LongBody, backend: Backend
    ) -> aiohttp.ClientResponse | web.Response:
        """Returns the backend's answer once its headers were received, or the refusal of the client's body."""
        url = URL(backend.url + request.raw_path, encoded=True)
        headers = end_to_end(request.headers, leave_out=("expect", "content-length"))
        if isinstance(body, LongBody) and request.content_length is not None:
            headers[hdrs.CONTENT_LENGTH] = str(request.content_length)
        try:
            return await self._session.request(
                request.method, url, headers=headers, data=body or None, allow_redirects=False
            )
        except aiohttp.ClientConnectorError as e:
            raise NotAnsweredError(f"connection refused: {e.strerror}", sent=False, down=True) from e
        except (aiohttp.ClientError, TimeoutError, OSError) as e:
            if isinstance(body, LongBody) and body.refusal:
                return body.refusal
            raise NotAnsweredError(f"{type(e).__name__} before an answer", sent=True) from e


async def _pass_on(
    request: web.BaseRequest, upstream: aiohttp.ClientResponse, backend: Backend, start: float
) -> web.StreamResponse | None:
    response = web.StreamResponse(status=upstream.status, reason=upstream.reason)
    response.headers.update(end_to_end(upstream.headers))
    response.headers[VARIANT_HEADER] = backend.variant
    await response.prepare(request)
    first = True
    while True:
        try:
            chunk = await upstream.content.readany()
        except (aiohttp.ClientError, OSError) as e:
            print(f"{backend.url}: an answer was cut: {e}", flush=True)
            return None
        if first:
            backend.count_first_byte(time.monotonic() - start)
            first = False
        try:
            if not chunk:
                await response.write_eof()
                return response
            await response.write(chunk)
        except ConnectionResetError:  # the client went away
            return response
