"""Reads settings of a repository through GitHub's REST API.

Requests go to https://api.github.com, or to $GITHUB_API_URL (GitHub Enterprise, and each workflow's environment). The
token is sent there only: redirects are not followed, and no error repeats it.
"""

import http.client
import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from llmops_kit.cli.chat_http import connect
from llmops_kit.core.errors import KitError
from llmops_kit.core.twins import is_loopback

_API, _API_VARIABLE = "https://api.github.com", "GITHUB_API_URL"
_TOKEN_VARIABLES = ("GH_TOKEN", "GITHUB_TOKEN")
"""The first that is set counts, as for the GitHub CLI."""
_TIMEOUT_S = 20
_MOST_BYTES = 1 << 20
_ORIGIN = re.compile(
    r"(?:https://(?:[^@/]*@)?|ssh://git@|git@)(?P<host>[^/:@]+)(?::[0-9]+)?[:/](?P<path>[^/]+/[^/]+?)(?:\.git)?/?"
)


@dataclass(frozen=True)
class GithubAnswer:
    """An answer of the API."""

    status: int
    body: Any
    """Its JSON; None if the status is not 200."""
    message: str = ""
    """Of an error."""
    permissions: str = ""
    """Those that the request needs, by the header X-Accepted-GitHub-Permissions: `actions=read`; empty: not sent."""


@dataclass(frozen=True)
class GithubApi:
    """The API with a token; an empty token means that none is set."""

    url: str
    token: str = field(repr=False)

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "GithubApi":
        """Returns the API and the token that an environment names.

        Raises:
            KitError: the API's address is not https, or the token can't be one.
        """
        url = environ.get(_API_VARIABLE, "") or _API
        try:
            usable = urlsplit(url).port != 0 and (urlsplit(url).scheme == "https" or is_loopback(url))
        except ValueError:
            usable = False
        if not usable:
            fix = "write https://HOST/PATH: the token is sent over https only"
            raise KitError("is not an address that can be used", where=f"${_API_VARIABLE}", fix=fix)
        variable = next((name for name in _TOKEN_VARIABLES if environ.get(name)), _TOKEN_VARIABLES[0])
        token = environ.get(variable, "").strip()
        if not re.fullmatch(r"[!-~]*", token):  # http.client's own error would repeat it
            raise KitError("has characters that no token has", where=f"${variable}", fix="set it to the token alone")
        return cls(url, token)

    @property
    def host(self) -> str:
        """The host of the repositories: github.com for api.github.com, else the API's own."""
        return (urlsplit(self.url).hostname or "").removeprefix("api.")

    def get(self, path: str) -> GithubAnswer:
        """Requests a path below the API's address.

        Raises:
            KitError: not reachable, or the answer is too long or no JSON.
        """
        connection, base = connect(self.url, _TIMEOUT_S)
        headers = {
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {self.token}",
            "User-Agent": "llmops-kit",
            "X-GitHub-Api-Version": "2022-11-28",
        }
        try:
            connection.request("GET", f"{base}{path}", headers=headers)
            with connection.getresponse() as response:
                return self._answer(response)
        except (OSError, http.client.HTTPException) as e:
            raise KitError(f"does not answer: {e or type(e).__name__}", where=self.host) from e
        finally:
            connection.close()

    def _answer(self, response: http.client.HTTPResponse) -> GithubAnswer:
        raw = response.read(_MOST_BYTES + 1)
        if len(raw) > _MOST_BYTES:
            raise KitError(f"answers more than {_MOST_BYTES:,} bytes", where=self.host)
        try:
            body = json.loads(raw)
        except ValueError as e:
            if response.status == 200:
                raise KitError("answers no JSON", where=self.host) from e
            body = None
        if response.status == 200:
            return GithubAnswer(200, body)
        message = str(body.get("message", "")) if isinstance(body, dict) else ""
        shown = message.replace(self.token, "…")[:200] if self.token else message[:200]
        return GithubAnswer(response.status, None, shown, response.headers.get("X-Accepted-GitHub-Permissions", ""))


def repository_here(folder: Path, host: str, environ: Mapping[str, str]) -> str:
    """Returns the OWNER/REPO of $GITHUB_REPOSITORY, else of git's remote `origin`, which must be on `host`.

    Raises:
        KitError: neither names a repository there.
    """
    if named := environ.get("GITHUB_REPOSITORY"):
        return named
    command = ["git", "remote", "get-url", "origin"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=20, check=False)
        found = _ORIGIN.fullmatch(done.stdout.strip()) if done.returncode == 0 else None
    except (OSError, subprocess.TimeoutExpired):
        found = None
    if not found or found["host"].lower() != host:  # not shown: it may hold a password
        raise KitError(
            f"git's remote `origin` is no repository on {host}",
            where=str(folder),
            fix="name it: `llmops doctor --github OWNER/REPO`",
        )
    return found["path"]
