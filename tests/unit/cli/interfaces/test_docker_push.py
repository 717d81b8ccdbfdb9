"""Pushing an image: login, progress, and the fix of what goes wrong. A script stands for Docker's client."""

import base64
import json
import os
from pathlib import Path

import pytest

from llmops_kit.cli.interfaces.docker_push import Login, push
from llmops_kit.core.errors import KitError

LOGIN = Login("127.0.0.1:4566", "AWS", "the-password")
SCRIPT = """#!/bin/bash
echo "$@" >>"$DOCKER_LOG"
if [ "$3" = push ]; then
    cp "$2/config.json" "$DOCKER_LOG.config"
    ls "$2" >"$DOCKER_LOG.folder"
    cat "$DOCKER_SAYS"
    exit "$DOCKER_CODE"
fi
"""
PUSHED = """The push refers to repository [127.0.0.1:4566/kit/serving]
4c47956f3abf: Preparing
eff0c19e7c6a: Preparing
4c47956f3abf: Pushed
eff0c19e7c6a: Layer already exists
v1: digest: sha256:47912ac8 size: 1160
"""


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the client was called with; beside it, what it saw of its configuration."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/docker").write_text(SCRIPT)
    (tmp_path / "bin/docker").chmod(0o755)
    (tmp_path / "own/contexts").mkdir(parents=True)
    own = {"auths": {"elsewhere": {"auth": "x"}}, "credsStore": "desktop", "currentContext": "rootless"}
    (tmp_path / "own/config.json").write_text(json.dumps(own))
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "own"))
    monkeypatch.setenv("DOCKER_LOG", str(tmp_path / "log"))
    says(monkeypatch, tmp_path, PUSHED)
    return tmp_path / "log"


def says(monkeypatch: pytest.MonkeyPatch, folder: Path, text: str, code: int = 0) -> None:
    (folder / "says").write_text(text)
    monkeypatch.setenv("DOCKER_SAYS", str(folder / "says"))
    monkeypatch.setenv("DOCKER_CODE", str(code))


def test_the_login_is_seen_by_nobody_and_does_not_stay(log: Path, tmp_path: Path) -> None:
    said: list[str] = []
    push("sha256:abc", "kit/serving", "v1", LOGIN, said.append)
    calls = log.read_text()
    name = "127.0.0.1:4566/kit/serving:v1"
    assert calls.startswith(f"tag sha256:abc {name}\n--config ")
    assert calls.endswith(f"push {name}\nrmi {name}\n")
    assert LOGIN.password not in calls
    assert LOGIN.password not in repr(LOGIN)
    config = json.loads(Path(f"{log}.config").read_text())
    secret = base64.b64encode(b"AWS:the-password").decode()
    assert config == {"auths": {LOGIN.host: {"auth": secret}}, "currentContext": "rootless"}
    assert Path(f"{log}.folder").read_text().split() == ["config.json", "contexts"]
    folder = calls.partition("--config ")[2].partition(" ")[0]
    assert not Path(folder).exists()
    assert (tmp_path / "own/contexts").is_dir()
    assert said == [
        "docker: layer 4c47956f3abf: pushed, 1 to go",
        "docker: layer eff0c19e7c6a: layer already exists",
    ]


@pytest.mark.parametrize(
    ("line", "fix"),
    [
        ("write /var/lib/docker/tmp/x: no space left on device", "docker system prune"),
        ("no basic auth credentials", "rejected the login"),
        ("name unknown: The repository with name 'x' does not exist", "`llmops up` makes"),
        ("denied: User: x is not authorized to perform: ecr:PutImage on resource: y", "llmops plan --policy"),
        (
            "tag invalid: The image tag 'v1' already exists and cannot be overwritten because the tag is immutable.",
            "re",
        ),
        ("unavailable: docker-registry is not on this machine", "apt-get install docker-registry"),
        ("dial tcp 127.0.0.1:4566: connect: connection refused", "llmops twin aws status"),
        ("something else", "see Docker's daemon"),
    ],
)
def test_what_goes_wrong_has_a_way_out(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, fix: str
) -> None:
    says(monkeypatch, tmp_path, f"4c47956f3abf: Preparing\n{line}\n", code=1)
    with pytest.raises(KitError) as refused:
        push("sha256:abc", "kit/serving", "v1", LOGIN, lambda _: None)
    assert line in refused.value.what
    assert fix in refused.value.fix
    assert log.read_text().splitlines()[-1].startswith("rmi ")
