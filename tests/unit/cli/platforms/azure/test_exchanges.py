"""Calls of Azure Resource Manager as a recording keeps them."""

from pathlib import Path

import pytest

from llmops_kit.cli.platforms.azure.exchanges import call_of, recorded_session, shown
from llmops_kit.cli.platforms.exchanges import VARIABLE, Recorder, recorded
from llmops_kit.clouds.azure.session import AzureSession
from tests.unit.clouds.azure.cloud import Anybody, Cloud

GROUP = "/subscriptions/11111111-2222-3333-4444-555555555555/resourceGroups/payroll"
_G = "/subscriptions/{}/resourceGroups/{}"


@pytest.mark.parametrize(
    ("path", "template"),
    [
        (f"{GROUP}/providers/Microsoft.KeyVault/vaults/anna", f"{_G}/providers/Microsoft.KeyVault/vaults/{{}}"),
        (f"{GROUP}/providers/Microsoft.KeyVault/vaults", f"{_G}/providers/Microsoft.KeyVault/vaults"),
        (f"{GROUP}", _G),
        ("/subscriptions/x/resources", "/subscriptions/{}/resources"),
        (
            f"{GROUP}/providers/Microsoft.ML/workspaces/anna/onlineEndpoints/bert/deployments/blue/getLogs",
            f"{_G}/providers/Microsoft.ML/workspaces/{{}}/onlineEndpoints/{{}}/deployments/{{}}/getLogs",
        ),
        (
            f"{GROUP}/providers/Microsoft.ML/workspaces/anna/providers/Microsoft.Authorization/roleAssignments/bert",
            f"{_G}/providers/Microsoft.ML/workspaces/{{}}/providers/Microsoft.Authorization/roleAssignments/{{}}",
        ),
        (
            "/subscriptions/x/providers/Microsoft.KeyVault/locations/here/deletedVaults/anna",
            "/subscriptions/{}/providers/Microsoft.KeyVault/locations/{}/deletedVaults/{}",
        ),
        ("/v1/workspaces/anna/query", "/v1/workspaces/{}/query"),
    ],
)
def test_a_call_names_types_and_nobodys_names(path: str, template: str) -> None:
    url = f"https://management.azure.com{path}?api-version=2024-03-01&$filter=anna"
    assert call_of("PUT", url) == f"PUT {template} 2024-03-01"


def test_a_document_keeps_its_members_and_states(tmp_path: object) -> None:
    recorder = Recorder(tmp_path)  # type: ignore[arg-type]
    document = {
        "id": f"{GROUP}/providers/Microsoft.KeyVault/vaults/anna",
        "type": "Microsoft.KeyVault/vaults",
        "tags": {"team": "payroll"},
        "properties": {
            "provisioningState": "Succeeded",
            "status": "anna did it",
            "properties": {"owner": "anna"},
            "enablePurgeProtection": True,
            "days": 90,
            "ids": ["anna", "bert", "cleo", "dora"],
        },
        "identity": {"userAssignedIdentities": {f"{GROUP}/anna": {"clientId": "anna"}}},
    }
    found = shown(document, recorder)
    assert found["type"] == "Microsoft.KeyVault/vaults"
    inner = found["properties"]
    assert (inner["provisioningState"], inner["enablePurgeProtection"], inner["days"]) == ("Succeeded", True, 90)
    assert len(inner["ids"]) == 3
    assert inner["ids"][0] == recorder.mask("anna")
    text = str(found)
    assert [w for w in ("anna", "payroll", "team", "owner", "1111") if w in text] == []


def test_a_session_that_was_opened_before_the_recording_is_recorded(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its first step, too: who calls is asked before there is a folder to record into."""
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.delenv("ARM_CLOUD_METADATA_URL", raising=False)
    monkeypatch.setattr(AzureSession, "credential", Anybody())
    session = recorded_session("s")
    assert session.arm.find("/subscriptions/s/resourceGroups/a") is None
    assert recorded(tmp_path) == []
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert session.arm.find("/subscriptions/s/resourceGroups/b") is None
    (found,) = recorded(tmp_path)
    assert (found["call"], found["status"], found["code"]) == (
        "GET /subscriptions/{}/resourceGroups/{} 2024-03-01", 404, "ResourceNotFound",
    )  # fmt: skip
