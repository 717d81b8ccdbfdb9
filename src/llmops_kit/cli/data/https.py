"""Sources on a web server: one file by https.

Every redirect is checked before it is followed: only to https, and never from the internet to an address of this
network. TLS protects that check against DNS rebinding: an internal server has no valid certificate for a name that
resolves to it afterwards.
"""

import ipaddress
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import unquote, urljoin, urlsplit

from llmops_kit.cli.data.items import Item, Partial, SourceContext
from llmops_kit.core import object_keys
from llmops_kit.core.documents.recipe_data import DataSource
from llmops_kit.core.errors import DataError, KitError, RefusedError, require_packages
from llmops_kit.data_pipeline.readers.formats import format_of, is_archive, unknown_format

if TYPE_CHECKING:
    import httpx

_MOST_REDIRECTS = 10
_ATTEMPTS = 5
_RANGE = re.compile(r"bytes (\d+)-")
_FIX = "open the address in a browser; put a token into the source's `token`"
_TOKEN_FIX = "give the source a `token: secret:NAME` that may read it"


def find_on_web(source: DataSource, context: SourceContext) -> Iterator[Item]:
    """Yields the file of an address.

    Raises:
        DataError: the address has a password, or its file an unknown format.
    """
    parts = urlsplit(source.source)
    shown = source.source.partition("?")[0]
    if parts.username or parts.password or not parts.hostname:
        what = "names no host" if not parts.hostname else "contains a user's name or password"
        raise DataError(what, where=f"https://{parts.hostname or ''}", fix="write https://host/file, and a `token`")
    name = unquote(parts.path).rpartition("/")[2]
    if not (format_of(name) or is_archive(name)):
        raise unknown_format(name or "/", shown)
    yield Item(object_keys.check(name, shown), shown, _Fetch(source.source, context.token(source)))


class _Fetch:
    """The download of one file, resumed if the server supports it."""

    def __init__(self, url: str, token: str) -> None:
        self._url, self._token = url, token
        self._shown = url.partition("?")[0]

    def __call__(self, partial: Partial, known: str) -> str:
        require_packages("data", "httpx")
        import httpx

        for attempt in range(1, _ATTEMPTS + 1):
            try:
                with httpx.Client(timeout=30) as client:
                    return self._fetch(client, partial, known)
            except (httpx.TransportError, _BusyError) as e:
                if attempt == _ATTEMPTS:
                    fix = "check the network, then repeat the command: it resumes"
                    raise KitError(f"can't be fetched: {e}", where=self._shown, fix=fix) from e
                time.sleep(0.2 * 2**attempt)
        raise AssertionError

    def _fetch(self, client: "httpx.Client", partial: Partial, known: str) -> str:
        headers = {"Accept-Encoding": "identity"}  # the file's own bytes
        there = partial.revision
        if start := partial.resumable(there) if _is_strong(there) else 0:
            headers |= {"Range": f"bytes={start}-", "If-Range": there}
        elif known:
            headers["If-None-Match" if known.endswith('"') else "If-Modified-Since"] = known
        with self._answer(client, headers) as answer:
            if answer.status_code == 304 and known:
                return known
            if answer.status_code == 416:  # the partial file is longer than the server's
                partial.remove()
                raise _BusyError("the server has another file by now")
            _check(answer, self._shown)
            revision = answer.headers.get("etag") or answer.headers.get("last-modified", "")
            at = _RANGE.match(answer.headers.get("content-range", ""))
            if answer.status_code == 206 and (not at or int(at[1]) != start or revision not in ("", there)):
                partial.remove()
                raise _BusyError("the server sent another part than was asked for")
            begin = start if answer.status_code == 206 else 0
            revision = there if begin else revision
            partial.check_size(begin + int(answer.headers.get("content-length", 0)))
            partial.fill(answer.iter_raw(), revision, begin)
            return revision

    @contextmanager
    def _answer(self, client: "httpx.Client", headers: dict[str, str]) -> Iterator["httpx.Response"]:
        """Yields the first response that is not a redirect. Sends the token only to the origin of the recipe's
        address.
        """
        url = self._url
        for _ in range(_MOST_REDIRECTS):
            same = _origin(url) == _origin(self._url)
            token = {"Authorization": f"Bearer {self._token}"} if self._token and same else {}
            with client.stream("GET", url, headers=headers | token) as answer:
                if not answer.has_redirect_location:
                    yield answer
                    return
                url = urljoin(url, answer.headers["location"])
            check_redirect(self._url, url)
        raise KitError(f"redirects more than {_MOST_REDIRECTS} times", where=self._shown, fix=_FIX)


class _BusyError(Exception):
    """Error for a response after which a retry may succeed."""


def check_redirect(url: str, target: str) -> None:
    """Checks that a server may redirect this machine to another address.

    Args:
        url: the recipe's address.
        target: the address that its server redirects to.

    Raises:
        RefusedError: it is not https; or it leads to this machine, its network or a link-local address such as a
            cloud's metadata, and `url` did not.
    """
    shown = url.partition("?")[0]
    parts = urlsplit(target)
    if parts.scheme != "https" or not parts.hostname or parts.username:
        raise RefusedError(
            f"redirects to {object_keys.plain(f'{parts.scheme}://{parts.hostname}')}, which is not https",
            where=shown,
            fix="write the https address of the file itself into the recipe",
        )
    reach = max(map(_reach, _addresses(parts.hostname, shown)), default=0)
    if reach == _LINK_LOCAL or reach > min(map(_reach, _addresses(urlsplit(url).hostname or "", shown)), default=0):
        raise RefusedError(
            f"redirects to {object_keys.plain(parts.hostname)}, an address that is not on the internet",
            where=shown,
            fix="if you trust it, write that address into the recipe",
        )


_INTERNET, _PRIVATE, _LOOPBACK, _LINK_LOCAL = range(4)


def _reach(address: str) -> int:
    """Returns how far inside this network an address is."""
    found = ipaddress.ip_address(address.partition("%")[0])
    found = getattr(found, "ipv4_mapped", None) or found
    if found.is_link_local or found.is_unspecified or found.is_multicast:
        return _LINK_LOCAL
    if found.is_loopback:
        return _LOOPBACK
    return _INTERNET if found.is_global else _PRIVATE


def _addresses(host: str, where: str) -> set[str]:
    try:
        return {str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except OSError as e:
        fix = "check the network, and the address"
        raise KitError(f"{object_keys.plain(host)} can't be resolved: {e}", where=where, fix=fix) from e


def _origin(url: str) -> tuple[str | None, int]:
    parts = urlsplit(url)
    return parts.hostname, parts.port or 443


def _is_strong(revision: str) -> bool:
    """Returns whether an ETag identifies bytes: https://www.rfc-editor.org/rfc/rfc9110#section-13.1.5"""
    return revision.startswith('"')


def _check(answer: "httpx.Response", where: str) -> None:
    status = answer.status_code
    if status in (429, 502, 503, 504):
        raise _BusyError(f"the server answers {status}")
    if status not in (200, 206):
        fix = _TOKEN_FIX if status in (401, 403) else _FIX
        raise KitError(f"can't be fetched: the server answers {status}", where=where, fix=fix)
    if answer.headers.get("content-encoding", "identity") != "identity":
        what = f"is sent as {object_keys.plain(answer.headers['content-encoding'])}, though not asked for"
        raise KitError(what, where=where, fix="fetch it yourself, and give its path")
