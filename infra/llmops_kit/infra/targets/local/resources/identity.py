"""The pairs of keys that sign model versions."""

from typing import Any

import pulumi
from pulumi import dynamic

from llmops_kit.infra import resource_names
from llmops_kit.infra.targets.local.providers.signing_key import SigningKeyProvider
from llmops_kit.settings.signing import SigningSettings


class LocalSigningKey(dynamic.Resource, module="llmops", name="SigningKey"):
    """Outputs: private_key (path of the newest), public_key_file (path), public_key (PEM of those that are trusted)."""

    private_key: pulumi.Output[str]
    public_key_file: pulumi.Output[str]
    public_key: pulumi.Output[str]

    def __init__(
        self, home: resource_names.StackHome, prefix: str, signing: SigningSettings, parent: pulumi.Resource
    ) -> None:
        props: dict[str, Any] = {
            "private_key": str(home.signing_key(signing.keys)),
            "public_key_file": str(home.public_key),
            "public_key": None,
            # None is equal to what older kits recorded.
            "older_keys": [str(home.signing_key(number)) for number in range(signing.keys - 1, 0, -1)] or None,
            "trusted": dict(signing.trusted) or None,
            "revoked": sorted(signing.revoked) or None,
        }
        options = pulumi.ResourceOptions(parent=parent, protect=True)
        super().__init__(SigningKeyProvider(), resource_names.kept(f"{prefix}signing-key"), props, options)
