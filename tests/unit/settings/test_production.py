"""`production: true` refuses every weaker setting at once, each by its name and with its fix."""

from pathlib import Path
from typing import Any

import pytest

from llmops_kit.core.errors import SettingError
from llmops_kit.settings.reading import SettingsOrigin
from llmops_kit.settings.resolved import resolve_stack
from llmops_kit.settings.stack_settings import Settings
from tests.support.clouds.settings import resolved

MODEL = f"chatbot@1@sha256:{'a' * 64}"
ARN = "arn:aws:iam::123456789012"
SUBNET = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/net/providers/Microsoft.Network"
SUBNET += "/virtualNetworks/hub/subnets/llmops"
WORKSPACE = SUBNET.partition("/providers/")[0] + "/providers/Microsoft.MachineLearningServices/workspaces/ours"
BUDGET = {"emails": ["you@example.com"]}
GOOD: dict[str, dict[str, Any]] = {
    "aws": {
        "permissions_boundary_arn": f"{ARN}:policy/llmops-boundary",
        "network": {"mode": "own"},
        "budget": BUDGET,
    },
    "azure": {"network": {"mode": "existing", "subnet": SUBNET}, "budget": BUDGET},
}
ROLES = {kind: f"{ARN}:role/{kind}" for kind in ("training", "endpoint", "scheduler")}
CLOUDS = pytest.mark.parametrize("target", ["aws", "azure"])


def settings(target: str, cloud: dict[str, Any], *, gate: str = "required", production: bool = True) -> Settings:
    endpoints = {name: {"model": MODEL, "gate": gate} for name in ("chat", "second")}
    given = {"target": target, "production": production, "endpoints": endpoints, target: cloud}
    return Settings.model_validate(given)


def refusal(target: str, cloud: dict[str, Any], **others: Any) -> str:
    with pytest.raises(SettingError) as caught:
        resolved(settings(target, cloud, **others))
    return str(caught.value)


@CLOUDS
def test_a_stack_without_weaker_settings_is_resolved(target: str) -> None:
    assert resolved(settings(target, GOOD[target])).settings.production


@pytest.mark.scorecard("production")
@CLOUDS
def test_defaults_that_are_too_weak_are_refused_for_production_alone(target: str) -> None:
    resolved(settings(target, {"budget": {"monthly_usd": 0}}, gate="waived", production=False))
    text = refusal(target, {"budget": {"monthly_usd": 0}}, gate="waived")
    wanted = [f"{target}.network.mode", f"{target}.budget.monthly_usd", f"{target}.budget.emails"]
    wanted += ["endpoints.chat.gate", "endpoints.second.gate"]
    wanted += ["aws.permissions_boundary_arn"] if target == "aws" else []
    for key in wanted:
        assert f"llmops:{key}: with `production: true`: " in text
    assert text.count("fix: ") == len(wanted)


@pytest.mark.parametrize(
    ("target", "change", "key"),
    [
        ("aws", {"permissions_boundary_arn": ""}, "permissions_boundary_arn"),
        ("aws", {"permissions_boundary_arn": "", "roles": {"training": ROLES["training"]}}, "permissions_boundary_arn"),
        ("aws", {"permissions_boundary_arn": "", "roles": ROLES, "audit": True}, "permissions_boundary_arn"),
        ("aws", {"network": {"mode": "none"}}, "network.mode"),
        ("aws", {"budget": {"monthly_usd": 0, **BUDGET}}, "budget.monthly_usd"),
        ("aws", {"budget": {"monthly_usd": 50}}, "budget.emails"),
        ("azure", {"network": {"mode": "none"}}, "network.mode"),
        ("azure", {"network": {"mode": "managed"}}, "network.mode"),
        ("azure", {"network": {**GOOD["azure"]["network"], "outbound": "internet"}}, "network.outbound"),
        ("azure", {"budget": {"monthly_usd": 0, **BUDGET}}, "budget.monthly_usd"),
        ("azure", {"workspace": WORKSPACE, "network": {}}, "workspace"),
    ],
)
def test_each_weaker_setting_is_refused_by_its_name_alone(target: str, change: dict[str, Any], key: str) -> None:
    text = refusal(target, GOOD[target] | change)
    assert f"llmops:{target}.{key}: with `production: true`: " in text
    assert text.count("fix: ") == 1


def test_a_waived_gate_is_refused_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "Pulumi.prod.yaml"
    file.write_text("config:\n  llmops:production: true\n  llmops:endpoints:\n    chat:\n      gate: waived\n")
    weak = settings("aws", GOOD["aws"], gate="waived")
    with pytest.raises(SettingError, match=r"Pulumi.prod.yaml:5: llmops:endpoints.chat.gate"):
        resolve_stack(weak, SettingsOrigin("llmops", file), "prod")


def test_existing_roles_need_no_boundary_since_the_stack_creates_none() -> None:
    resolved(settings("aws", GOOD["aws"] | {"permissions_boundary_arn": "", "roles": ROLES}))
