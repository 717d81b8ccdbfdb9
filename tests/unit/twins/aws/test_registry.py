"""Tokens of ECR: whose they are, and for how long."""

import base64
import time
from pathlib import Path

import pytest

from contract.errors import KitError
from twins.aws import registry
from twins.aws.calls import Call
from twins.aws.registry_storage import Storage
from twins.aws.twin import Twin


def basic(password: str, user: str = "AWS") -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def test_a_token_is_its_askers_for_12_hours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    twin = Twin(tmp_path)
    call = Call("ecr", "GetAuthorizationToken", {}, "AKIA", "eu-west-1", "arn:aws:iam::000000000000:user/one")
    token = registry.token(twin, call)
    assert registry.holder(twin, basic(token)) == registry.Holder("AKIA", call.principal, "eu-west-1")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 11.9 * 3600)
    assert registry.holder(twin, basic(token))
    monkeypatch.setattr(time, "time", lambda: now + 12.1 * 3600)
    with pytest.raises(TimeoutError):
        registry.holder(twin, basic(token))


def test_nothing_else_opens_the_registry(tmp_path: Path) -> None:
    twin, other = Twin(tmp_path / "one"), Twin(tmp_path / "other")
    call = Call("ecr", "GetAuthorizationToken", {}, "AKIA", "eu-west-1", "arn:aws:iam::000000000000:user/one")
    token = registry.token(twin, call)
    text, _, signature = token.partition(".")
    for wrong in (
        "",
        "Bearer x",
        "Basic",
        "Basic ä",
        basic(token, "root"),
        basic(registry.token(other, call)),
        basic(text),
        basic(f"{text}."),
        basic(f"{text[:-4]}AAAA.{signature}"),
    ):
        assert registry.holder(twin, wrong) is None


def test_a_machine_without_the_program_says_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    storage = Storage(tmp_path / "registry")
    with pytest.raises(KitError, match="docker-registry is not on this machine") as refused:
        storage.connect()
    assert "apt-get install docker-registry" in refused.value.fix
    assert not storage.empty()
    storage.close()


def test_a_program_that_does_not_start_is_told_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "docker-registry").write_text("#!/bin/sh\necho no storage of this kind >&2\nexit 1\n")
    (tmp_path / "docker-registry").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    storage = Storage(tmp_path / "home")
    with pytest.raises(KitError, match="did not start: no storage of this kind"):
        storage.connect()
