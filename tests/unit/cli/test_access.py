"""What lets other clients in: of a stack on this machine."""

from pathlib import Path

import pytest

from llmops_kit.cli.interfaces.platform import Access
from llmops_kit.cli.platforms.local.platform import LocalPlatform
from llmops_kit.core.documents.outputs import EndpointOutput
from llmops_kit.core.errors import KitError

SHA = "a" * 64


@pytest.fixture
def serving(platform: LocalPlatform, tmp_path: Path) -> LocalPlatform:
    """A stack with two endpoints, one of them off."""
    (tmp_path / "chat.key").write_text("sk-key\n")
    common = {"model": f"chatbot@3@sha256:{SHA}", "sha256": SHA, "image": "", "key": str(tmp_path / "chat.key")}
    platform.outputs.endpoints["chat"] = EndpointOutput.model_validate({**common, "url": "http://127.0.0.1:8000"})
    platform.outputs.endpoints["off"] = EndpointOutput.model_validate({**common, "url": "", "on": False})
    return platform


def test_an_endpoints_own_key(serving: LocalPlatform) -> None:
    access = serving.access("chat", 1)
    assert access == Access("http://127.0.0.1:8000/v1", "sk-key", "chatbot@3")
    assert "sk-key" not in repr(access)


def test_what_can_not_be_asked_says_why(serving: LocalPlatform) -> None:
    with pytest.raises(KitError, match="endpoint off is off"):
        serving.access("off", 1)
    with pytest.raises(KitError, match="there is no endpoint other"):
        serving.access("other", 1)
    Path(serving.outputs.endpoints["chat"].key).unlink()
    with pytest.raises(KitError, match="key can't be read"):
        serving.access("chat", 1)


def test_a_run_of_this_machine_is_no_job(platform: LocalPlatform) -> None:
    with pytest.raises(KitError, match="processes of this machine") as error:
        platform.job_request("chatbot-1")
    assert "stack of target aws" in error.value.fix
