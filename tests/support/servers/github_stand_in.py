"""A stand-in for GitHub's REST API, with the answers of GitHub's published examples.

The answers are those of `tests/data/github/examples.json`, which names its source. Errors have the form of the schema
`basic-error` there; statuses and the header with a request's permissions are those of
https://docs.github.com/rest/using-the-rest-api/troubleshooting-the-rest-api (401 for a wrong token, 404 for a
repository that the token may not see, 403 and X-Accepted-GitHub-Permissions for a missing permission) and of
https://docs.github.com/rest/authentication/permissions-required-for-fine-grained-personal-access-tokens.
"""

import copy
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from tests.support.checkout import CHECKOUT

EXAMPLES = json.loads((CHECKOUT / "tests/data/github/examples.json").read_text())["examples"]
REPOSITORY, TOKEN = "octocat/Hello-World", "github_pat_0123456789"
"""The repository that the token may read."""
PERMISSIONS = {
    "": "metadata=read",
    "/environments/{environment_name}": "actions=read",
    "/environments/{environment_name}/deployment-branch-policies": "actions=read",
    "/actions/oidc/customization/sub": "actions=read",
    "/rules/branches/{branch}": "metadata=read",
    "/branches/{branch}": "contents=read",
    "/branches/{branch}/protection": "administration=read",
}


class GithubStandIn(ThreadingHTTPServer):
    """The API, with settings of one repository; all others belong to somebody else."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.settings: dict[str, Any] = copy.deepcopy(EXAMPLES)
        """Template of a path below the repository -> its answer; a number: an error's status, text: its message."""
        self.environments = {"promote"}
        self.denied: set[str] = set()
        """Permissions that the token lacks."""
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: GithubStandIn  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        self.server.asked.append(path)
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            self._error(401, "Bad credentials")
            return
        base = f"/repos/{REPOSITORY}".lower()
        template = _template(path[len(base) :]) if path.lower().startswith(base) else None
        if template is None:
            self._error(404, "Not Found")
        elif PERMISSIONS[template] in self.server.denied:
            self._error(403, "Resource not accessible by personal access token", PERMISSIONS[template])
        elif "{environment_name}" in template and path.split("/environments/")[1].split("/")[0] not in (
            self.server.environments
        ):
            self._error(404, "Not Found")
        else:
            self._reply(self.server.settings[template])

    def _reply(self, answer: Any) -> None:
        if isinstance(answer, int):
            self._error(answer, "Moved Permanently" if answer == 301 else "Not Found")
        elif isinstance(answer, str):
            self._error(404, answer)
        else:
            self._send(200, answer)

    def _error(self, status: int, message: str, permission: str = "") -> None:
        body = {"message": message, "documentation_url": "https://docs.github.com/rest", "status": str(status)}
        self._send(status, body, {"X-Accepted-GitHub-Permissions": permission} if permission else {})

    def _send(self, status: int, answer: Any, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base's name)
        pass


def _template(below: str) -> str | None:
    """The template of a path below a repository's; None: the API has no such path."""
    words = below.split("/")
    for template in PERMISSIONS:
        pattern = template.split("/")
        if len(words) == len(pattern) and all(p in (w, f"{{{p[1:-1]}}}") for p, w in zip(pattern, words, strict=True)):
            return template
    return None
