"""The workflows of docs/how-to/github: when they hold which rights, and what a pull request's job leaves behind."""

import base64
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.support.workflows import Job, load, names, tokens_on_disk

JOBS = [(name, job) for name in names() for job in load(name).jobs]
each_job = pytest.mark.parametrize("job", [job for _, job in JOBS], ids=[f"{name}:{job.name}" for name, job in JOBS])


@pytest.mark.scorecard("workflows")
@each_job
def test_rights_come_after_the_set_up(job: Job) -> None:
    builds = [i for i, step in enumerate(job.steps) if re.search(r"\b(make|pip|uv|npm)\b", step.get("run", ""))]
    if job.sign_in is not None:
        assert builds
        assert max(builds) < job.sign_in


@pytest.mark.scorecard("workflows")
@each_job
def test_no_checkout_leaves_a_token_and_one_step_alone_has_it(job: Job) -> None:
    (checkout,) = (step for step in job.steps if step.get("uses", "").startswith("actions/checkout@"))
    assert checkout["with"]["persist-credentials"] is False
    told = [step for step in job.steps if "github.token" in str(step) or "secrets." in str(step)]
    assert [step["name"] for step in told] == (["Open a pull request"] if job.name == "propose" else [])
    assert "github.token" not in str(job.document.get("env"))


@pytest.mark.scorecard("workflows")
@pytest.mark.parametrize("name", names())
def test_each_job_has_the_rights_that_it_needs_alone(name: str) -> None:
    """Who can write to the repository can't sign in to the cloud, and the reverse."""
    workflow = load(name)
    assert workflow.document["permissions"] == {}
    for job in workflow.jobs:
        rights = {right for right, level in job.document["permissions"].items() if level == "write"}
        wanted = {"id-token"} if job.identity else set()
        assert rights == (wanted or ({"contents", "pull-requests"} if job.name == "propose" else set()))
        assert (job.document.get("environment") == "promote") == (job.identity == "promote")


@pytest.mark.scorecard("workflows")
@each_job
def test_no_script_contains_what_a_caller_wrote(job: Job) -> None:
    assert not [step["run"] for step in job.steps if "${{" in step.get("run", "")]


@pytest.mark.scorecard("approval")
@pytest.mark.parametrize("name", ["promote.yml", "azure/promote.yml"])
def test_the_approved_job_gets_the_reviewed_identity_alone(name: str) -> None:
    workflow = load(name)
    review, promote, propose = (workflow.job(each) for each in ("review", "promote", "propose"))
    assert (review.identity, promote.identity, propose.identity) == ("preview", "promote", "")
    assert "environment" not in review.document
    assert promote.document["needs"] == "review"
    assert "inputs." not in str(promote.document) + str(propose.document)
    (step,) = (step for step in promote.steps if step.get("id") == "promote")
    assert step["env"]["IDENTITY"].split(" #")[0] == "${{ needs.review.outputs.identity }}"
    assert 'llmops promote "$IDENTITY"' in step["run"]
    assert '--reviewed "$IDENTITY"' in step["run"]


TOKEN = "ghs_stand-in-token"
_GH = """#!/bin/sh
# As GitHub's command line does it: the helper answers with the token of its environment, and stores nothing.
case "$*" in
  "auth git-credential get") printf 'username=x-access-token\\npassword=%s\\n' "$GH_TOKEN" ;;
  "auth git-credential "*) ;;
  "pr create --fill") test -n "$GH_TOKEN" && git log -1 --format=%s ;;
  *) exit 2 ;;
esac
"""


@dataclass
class GitServer:
    """A repository served over HTTP by git's own http-backend, which lets in whoever has the token."""

    url: str
    folder: Path
    seen: list[str] = field(default_factory=list)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    folder = tmp_path / "served/acme.git"
    git("init", "--quiet", "--bare", "--initial-branch=main", str(folder), cwd=tmp_path)
    git("config", "http.receivepack", "true", cwd=folder)
    made = GitServer("", folder)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            given = self.headers.get("Authorization", "")
            made.seen.append(given)
            if given != "Basic " + base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode():
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="git"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self._backend(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

        def do_POST(self) -> None:
            self.do_GET()

        def _backend(self, body: bytes) -> None:
            path, _, query = self.path.partition("?")
            environ = {
                **os.environ,
                "GIT_PROJECT_ROOT": str(folder.parent),
                "GIT_HTTP_EXPORT_ALL": "1",
                "REMOTE_USER": "x-access-token",
                "REQUEST_METHOD": self.command,
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": str(len(body)),
            }
            done = subprocess.run(["git", "http-backend"], input=body, env=environ, capture_output=True, check=True)
            head, _, content = done.stdout.partition(b"\r\n\r\n")
            fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
            self.send_response(int(fields.pop("Status", "200").split()[0]))
            for name, value in {**fields, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        made.url = f"http://127.0.0.1:{http.server_port}/acme.git"
        thread = Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        yield made
        http.shutdown()
        thread.join()


def git(*arguments: str, cwd: Path) -> str:
    identity = {f"GIT_{who}_{what}": "x@example.com" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environ = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1", **identity}
    return subprocess.run(["git", *arguments], cwd=cwd, env=environ, check=True, text=True, capture_output=True).stdout


@pytest.mark.scorecard("workflows")
@pytest.mark.parametrize("name", ["promote.yml", "azure/promote.yml"])
def test_the_pull_request_is_pushed_and_its_token_is_nowhere(name: str, server: GitServer, tmp_path: Path) -> None:
    checkout, home, programs = (tmp_path / each for each in ("checkout", "home", "bin"))
    for folder in (checkout, home, programs):
        folder.mkdir()
    (programs / "gh").write_text(_GH)
    (programs / "gh").chmod(0o755)
    git("init", "--quiet", "--initial-branch=main", cwd=checkout)
    for each in ("Pulumi.dev.yaml", "other.yaml"):
        (checkout / each).write_text("model: old\n")
    git("add", ".", cwd=checkout)
    git("commit", "--quiet", "-m", "first", cwd=checkout)
    git("remote", "add", "origin", server.url, cwd=checkout)
    for each in ("Pulumi.dev.yaml", "other.yaml"):
        (checkout / each).write_text("model: new\n")
    patch = git("diff", cwd=checkout)
    git("checkout", "--quiet", ".", cwd=checkout)

    environ = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "HOME": str(home),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GH_TOKEN": TOKEN,
        "GITHUB_RUN_ID": "7",
        "PULUMI_STACK": "dev",
        "IDENTITY": f"chatbot@sha256:{'0' * 64}",
        "PATCH": base64.b64encode(patch.encode()).decode(),
    }
    printed = load(name).job("propose").run(checkout, environ)
    assert f"Promote chatbot@sha256:{'0' * 64} on dev" in printed
    assert any(server.seen)
    assert git("show", "promote-7:Pulumi.dev.yaml", cwd=server.folder) == "model: new\n"
    assert git("show", "promote-7:other.yaml", cwd=server.folder) == "model: old\n"
    shutil.rmtree(programs)
    assert list(tokens_on_disk(TOKEN, checkout, home)) == []


def test_a_token_on_disk_would_be_found(tmp_path: Path) -> None:
    """As actions/checkout keeps it, if it is not told otherwise."""
    value = base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode()
    (tmp_path / "config").write_text(f'[http "https://github.com/"]\n\textraheader = AUTHORIZATION: basic {value}\n')
    assert list(tokens_on_disk(TOKEN, tmp_path)) == [tmp_path / "config"]
