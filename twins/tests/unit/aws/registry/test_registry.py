"""Tokens of ECR: whose they are, and for how long."""

import base64
import time
from pathlib import Path

import pytest

from llmops_twins.aws.calls import ApiCall
from llmops_twins.aws.registry import registry
from llmops_twins.aws.twin import AccountTwin


def basic(password: str, user: str = "AWS") -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def test_a_token_is_its_askers_for_12_hours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    twin = AccountTwin(tmp_path)
    call = ApiCall("ecr", "GetAuthorizationToken", {}, "AKIA", "eu-west-1", "arn:aws:iam::000000000000:user/one")
    token = registry.token(twin, call)
    assert registry.holder(twin, basic(token)) == registry.Holder("AKIA", call.principal, "eu-west-1")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 11.9 * 3600)
    assert registry.holder(twin, basic(token))
    monkeypatch.setattr(time, "time", lambda: now + 12.1 * 3600)
    with pytest.raises(TimeoutError):
        registry.holder(twin, basic(token))


def test_nothing_else_opens_the_registry(tmp_path: Path) -> None:
    twin, other = AccountTwin(tmp_path / "one"), AccountTwin(tmp_path / "other")
    call = ApiCall("ecr", "GetAuthorizationToken", {}, "AKIA", "eu-west-1", "arn:aws:iam::000000000000:user/one")
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
