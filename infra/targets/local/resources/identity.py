"""The pair of keys that signs model versions."""

from typing import Any

import pulumi
from pulumi import dynamic

from infra import names
from infra.targets.local.identity import SigningKeyProvider


class LocalSigningKey(dynamic.Resource, module="llmops", name="SigningKey"):
    """Outputs: private_key and public_key_file (paths), public_key (PEM)."""

    private_key: pulumi.Output[str]
    public_key_file: pulumi.Output[str]
    public_key: pulumi.Output[str]

    def __init__(self, home: names.StackHome, prefix: str, parent: pulumi.Resource) -> None:
        props: dict[str, Any] = {
            "private_key": str(home.signing_key),
            "public_key_file": str(home.public_key),
            "public_key": None,
        }
        options = pulumi.ResourceOptions(parent=parent, protect=True)
        super().__init__(SigningKeyProvider(), names.kept(f"{prefix}signing-key"), props, options)
