"""The pair of keys that signs model versions."""

from typing import Any

import pulumi
from pulumi import dynamic

from llmops_kit.infra import resource_names
from llmops_kit.infra.targets.local.providers.signing_key import SigningKeyProvider


class LocalSigningKey(dynamic.Resource, module="llmops", name="SigningKey"):
    """Outputs: private_key and public_key_file (paths), public_key (PEM)."""

    private_key: pulumi.Output[str]
    public_key_file: pulumi.Output[str]
    public_key: pulumi.Output[str]

    def __init__(self, home: resource_names.StackHome, prefix: str, parent: pulumi.Resource) -> None:
        props: dict[str, Any] = {
            "private_key": str(home.signing_key),
            "public_key_file": str(home.public_key),
            "public_key": None,
        }
        options = pulumi.ResourceOptions(parent=parent, protect=True)
        super().__init__(SigningKeyProvider(), resource_names.kept(f"{prefix}signing-key"), props, options)
