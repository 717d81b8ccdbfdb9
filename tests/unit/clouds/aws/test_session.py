"""Sessions of AWS: whose credentials they take, and what they read once."""

from pathlib import Path

import botocore.session
import pytest
from botocore.loaders import JSONFileLoader, create_loader

from llmops_kit.clouds.aws.session import StackSession
from llmops_kit.core.errors import KitError

CONFIG = """\
[profile first]
region = eu-west-1
aws_access_key_id = first
aws_secret_access_key = a
[profile second]
region = eu-north-1
aws_access_key_id = second
aws_secret_access_key = b
"""


@pytest.fixture(autouse=True)
def _profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config").write_text(CONFIG)
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "REGION", "DEFAULT_REGION", "ENDPOINT_URL"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_PROFILE", "first")


def test_a_stacks_profile_goes_before_the_shells() -> None:
    for profile, name, region in (("", "first", "eu-west-1"), ("second", "second", "eu-north-1")):
        session = StackSession(profile=profile)
        assert (session.credentials.access_key, session.region) == (name, region)
        assert session("sqs").meta.endpoint_url == f"https://sqs.{region}.amazonaws.com"
    with pytest.raises(KitError, match="third"):
        StackSession(profile="third")


def test_a_second_session_reads_no_model_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(botocore.session, "create_loader", create_loader)  # this session of tests shares one
    StackSession(profile="first")("sqs")
    read: list[str] = []
    load = JSONFileLoader.load_file
    monkeypatch.setattr(JSONFileLoader, "load_file", lambda self, path: read.append(path) or load(self, path))
    StackSession(profile="second")("sqs")
    assert read == []
