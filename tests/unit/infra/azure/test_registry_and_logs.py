"""The registry refuses anonymous pulls and its admin user; audit logs are on, and read by Entra identities alone."""

import pytest

from tests.unit.infra.azure.conftest import Subscription
from tests.unit.infra.program import Declared

REGISTRY = "azure-native:containerregistry:Registry"
DIAGNOSTICS = "azure-native:monitor:DiagnosticSetting"
LOGS = "azure-native:operationalinsights:Workspace"


@pytest.fixture(scope="module")
def declared(subscription: Subscription) -> Declared:
    return subscription.provision({})


def test_images_are_neither_public_nor_behind_a_shared_password(declared: Declared) -> None:
    (registry,) = declared.all_of(REGISTRY)
    assert (registry["adminUserEnabled"], registry["anonymousPullEnabled"]) == (False, False)


def test_audit_logs_are_on_for_every_audited_resource(declared: Declared) -> None:
    settings = declared.all_of(DIAGNOSTICS)
    assert len(settings) >= 3
    for setting in settings:
        (log,) = setting["logs"]
        assert log["enabled"] is True
        assert log["categoryGroup"] in ("audit", "allLogs")


def test_logs_have_no_shared_keys(declared: Declared) -> None:
    for workspace in declared.all_of(LOGS):
        assert workspace["features"]["disableLocalAuth"] is True
