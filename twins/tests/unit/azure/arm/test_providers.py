"""States of resource providers."""

from pathlib import Path

from llmops_twins.azure.services import managedidentity
from tests.support.clouds.azure import Arm, local_twin

V = "2023-01-31"


def test_a_provider_is_registering_for_a_while_and_takes_no_new_resource_meanwhile(tmp_path: Path) -> None:
    slow = Arm(local_twin(tmp_path, managedidentity.install, pace=3600.0))
    provider = "{sub}/providers/Microsoft.ManagedIdentity"
    path = f"{slow.group()}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/job"
    assert slow.call("POST", f"{provider}/register", "2021-04-01").body["registrationState"] == "Registered"
    slow.call("POST", f"{provider}/unregister", "2021-04-01")
    for _ in range(2):
        assert slow.call("POST", f"{provider}/register", "2021-04-01").body["registrationState"] == "Registering"
    assert slow.put(path, V, {"location": "westeurope"}).code == "MissingSubscriptionRegistration"
    listed = slow.get("{sub}/providers", "2021-04-01").body["value"]
    states = {each["namespace"]: each["registrationState"] for each in listed}
    assert states["Microsoft.ManagedIdentity"] == "Registering"
    slow.twin.state["registering"]["microsoft.managedidentity"] = 0.0
    assert slow.get(provider, "2021-04-01").body["registrationState"] == "Registered"
    assert slow.put(path, V, {"location": "westeurope"}).status in (200, 201)
