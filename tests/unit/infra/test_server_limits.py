"""Limits of servers that clouds can't honour."""

from collections.abc import Callable
from typing import Any

import pytest

from llmops_kit.core.errors import SettingError
from llmops_kit.infra.targets.aws.limits import require_supported as on_aws
from llmops_kit.infra.targets.azure.limits import require_supported as on_azure
from llmops_kit.settings.resolved import ResolvedEndpoint
from llmops_kit.settings.stack_settings import Endpoint, Settings
from tests.support.clouds.settings import resolved

MODEL = f"chatbot@1@sha256:{'a' * 64}"
Check = Callable[[ResolvedEndpoint], None]


def endpoint(target: str, mode: str, **limits: Any) -> ResolvedEndpoint:
    entry = Endpoint.model_validate({"model": MODEL, "mode": mode, "limits": limits})
    return resolved(Settings(target=target, endpoints={"chat": entry})).endpoints["chat"]


@pytest.mark.parametrize(
    ("check", "mode", "limits", "words"),
    [
        (on_aws, "realtime", {"request_seconds": 56}, ["request_seconds", "SageMaker gives up", "write 55 or less"]),
        (on_aws, "realtime", {"request_seconds": 300}, ["request_seconds", "write 55 or less"]),
        (on_aws, "realtime", {"stream_seconds": 480}, ["stream_seconds", "write 470 or less"]),
        (on_aws, "async", {"request_seconds": 3600}, ["request_seconds", "write 3590 or less"]),
        (on_aws, "realtime", {"max_body": 7_000_000}, ["max_body", "6291456"]),
        (on_aws, "realtime", {"api_keys_file": "keys/a.json"}, ["api_keys_file", "authenticates callers", "remove it"]),
        (on_azure, "realtime", {"request_seconds": 175}, ["request_seconds", "Azure ML gives up", "170"]),
        (on_azure, "realtime", {"stream_seconds": 175}, ["stream_seconds", "170"]),
        (on_azure, "realtime", {"metrics_key_file": "keys/m"}, ["metrics_key_file", "remove it"]),
        (on_aws, "realtime", {"memory_mb": 4096}, ["memory of its instance", "size.instance_type"]),
        (on_azure, "realtime", {"memory_mb": 4096}, ["memory of its instance", "size.instance_type"]),
    ],
)
def test_what_a_platform_cant_honour_is_refused_by_name(
    check: Check, mode: str, limits: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(SettingError) as refused:
        check(endpoint("aws" if check is on_aws else "azure", mode, **limits))
    assert f"endpoints.chat.limits.{next(iter(limits))}" in refused.value.where
    for word in words:
        assert word in str(refused.value)


def test_what_it_can_honour_is_taken() -> None:
    on_aws(endpoint("aws", "realtime", request_seconds=40, stream_seconds=470, max_queue=0, max_body=1024))
    on_aws(endpoint("aws", "async", request_seconds=3590, stream_seconds=3590, max_body=1 << 30))
    on_azure(endpoint("azure", "realtime", request_seconds=170, stream_seconds=100, max_running=8))
