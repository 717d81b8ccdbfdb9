"""Container registries as Resource Manager takes, refuses and shows them."""

from pathlib import Path
from typing import Any

import pytest

from llmops_twins.azure.registry import registry
from llmops_twins.azure.services import authorization, containerregistry
from tests.support.clouds.azure import Arm, local_twin

VERSION = "2023-07-01"
DIGEST = f"sha256:{'a' * 64}"
MANIFEST = '{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": [{"size": 3}]}'


@pytest.fixture
def arm(tmp_path: Path) -> Arm:
    return Arm(local_twin(tmp_path, authorization.install, containerregistry.install))


def path(arm: Arm, name: str = "kitimages", group: str = "rg") -> str:
    return f"{arm.group(group)}/providers/Microsoft.ContainerRegistry/registries/{name}"


def body(sku: str = "Basic", **properties: Any) -> dict[str, Any]:
    return {"location": "westeurope", "sku": {"name": sku}, "properties": properties}


def test_a_registry_has_a_login_server_and_no_admin(arm: Arm) -> None:
    assert arm.put(path(arm), VERSION, body()).status == 201
    arm.pass_time()
    found = arm.get(path(arm), VERSION).body
    assert found["properties"]["loginServer"].startswith("localhost:")
    assert found["properties"]["adminUserEnabled"] is False
    assert found["sku"] == {"name": "Basic", "tier": "Basic"}
    refused = arm.call("POST", f"{path(arm)}/listCredentials", VERSION, {})
    assert refused.code == "InvalidResourceType"


def test_what_azure_refuses_is_refused(arm: Arm) -> None:
    arm.put(path(arm), VERSION, body())
    arm.pass_time()
    cases: list[tuple[str, dict[str, Any], str]] = [
        (path(arm, "kit"), body(), "InvalidResourceName"),
        (path(arm, "kit-images"), body(), "InvalidResourceName"),
        (path(arm, "KitImages", "other"), body(), "AlreadyInUse"),
        (path(arm, "kitother"), body("Cheap"), "InvalidSku"),
        (path(arm, "kitother"), body(publicNetworkAccess="Disabled"), "SkuNotSupported"),
        (path(arm, "kitother"), body(encryption={"status": "enabled"}), "SkuNotSupported"),
        (path(arm, "kitother"), body(adminUserEnabled=True), "FeatureNotSupported"),
        (path(arm), body("Premium", zoneRedundancy="Enabled"), "CannotChangeZoneRedundancy"),
    ]
    for each, given, code in cases:
        assert arm.put(each, VERSION, given).code == code
    assert arm.put(path(arm, "kitother"), VERSION, body("Premium", publicNetworkAccess="Disabled")).status == 201


def test_an_image_is_found_by_tag_and_digest_at_its_own_registry(arm: Arm) -> None:
    arm.put(path(arm), VERSION, body())
    server = arm.get(path(arm), VERSION).body["properties"]["loginServer"]
    assert registry.put(arm.twin, "kitimages", "kit/serving", MANIFEST, "", DIGEST, "v1")
    assert not registry.put(arm.twin, "kitimages", "kit/serving", MANIFEST, "text/plain", DIGEST, "v1")
    found = registry.resolve(arm.twin, f"{server}/kit/serving:v1")
    assert found
    assert (found.registry, found.digest) == (path(arm), DIGEST)
    assert found == registry.resolve(arm.twin, f"{server}/kit/serving@{DIGEST}")
    for other in (f"{server}/kit/serving", f"{server}/kit/other:v1", "localhost:1/kit/serving:v1", "python:3.11"):
        assert registry.resolve(arm.twin, other) is None
    registry.delete(arm.twin, "kitimages", "kit/serving", DIGEST)
    assert registry.resolve(arm.twin, f"{server}/kit/serving:v1") is None


def test_a_tag_moves(arm: Arm) -> None:
    arm.put(path(arm), VERSION, body())
    other = DIGEST.replace("a", "b")
    registry.put(arm.twin, "kitimages", "kit", MANIFEST, "", DIGEST, "latest")
    registry.put(arm.twin, "kitimages", "kit", MANIFEST, "", other, "latest")
    assert registry.digest_of(arm.twin, "kitimages", "kit", "latest") == other
    assert registry.digest_of(arm.twin, "kitimages", "kit", DIGEST) == DIGEST
