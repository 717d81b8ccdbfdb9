"""The public keys that a stack trusts, from its signing keys and its settings."""

from collections.abc import Sequence

import pulumi

from llmops_kit.settings.signing import SigningSettings


def trusted_keys(signing: SigningSettings, public_keys: Sequence[pulumi.Input[str]]) -> pulumi.Output[str]:
    """Returns the public keys that verify versions, in PEM one after another.

    Args:
        signing: the stack's settings of keys.
        public_keys: PEM, of the stack's own keys, the one that signs first.
    """
    (first, *others), found = public_keys, signing
    if not (others or found.trusted or found.revoked):
        return pulumi.Output.from_input(first)

    def bundled(known: Sequence[str]) -> str:
        from llmops_kit.core.integrity.envelopes import bundle

        return bundle(known, found.trusted, found.revoked)

    return pulumi.Output.all(*public_keys).apply(bundled)


def numbered(name: str, number: int) -> str:
    """Returns the name of one of a stack's keys: the first one has none of its own."""
    return name if number == 1 else f"{name}-{number}"
