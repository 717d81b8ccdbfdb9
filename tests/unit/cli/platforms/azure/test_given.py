"""What is made on a twin in place of an account's own resources."""

from unittest import mock

from llmops_kit.cli.platforms.azure import given
from llmops_kit.clouds.azure.roles import BUILT_IN


def test_a_role_of_a_new_principal_is_assigned_with_its_type() -> None:
    session = mock.Mock()
    given.assign(session, "an-object-id", "AcrPull")
    (id_, body), _ = session.arm.put.call_args
    assert "/providers/Microsoft.Authorization/roleAssignments/" in id_
    properties = body["properties"]
    assert (properties["principalId"], properties["principalType"]) == ("an-object-id", "ServicePrincipal")
    assert properties["roleDefinitionId"].endswith(BUILT_IN["AcrPull"])
