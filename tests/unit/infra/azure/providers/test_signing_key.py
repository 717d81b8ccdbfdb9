"""The signing key of a stack: `refresh` forgets a key that is gone, so that the next update makes it again."""

from llmops_kit.infra.targets.azure.providers.signing_key import SigningProvider
from tests.unit.infra.azure.arm import PLACE, InProcessArm

VAULT = "/subscriptions/s/resourceGroups/g/providers/Microsoft.KeyVault/vaults/v"
PROPS = {**PLACE, "vault": VAULT, "name": "signing", "given": "", "shared": False, "tags": {}}


def test_a_key_that_is_there_is_kept(arm: InProcessArm) -> None:
    arm.documents[f"{VAULT}/keys/signing"] = {"properties": {}}
    found = SigningProvider().read("id", PROPS)
    assert (found.id, found.outs) == ("id", PROPS)


def test_a_key_that_is_gone_is_forgotten(arm: InProcessArm) -> None:
    assert SigningProvider().read("id", PROPS).id == ""
    assert arm.calls == [("GET", "signing")]


def test_a_given_key_is_kept_without_looking_for_it(arm: InProcessArm) -> None:
    given = PROPS | {"given": f"https://v.vault.azure.net/keys/signing/{'0' * 32}"}
    assert SigningProvider().read("id", given).id == "id"
    assert arm.calls == []
