"""Settings of the keys that sign model versions."""

from typing import Annotated

from pydantic import Field, StringConstraints

from llmops_kit.core.document import Part

KeyId = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
PublicKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+/]{80,400}={0,2}$")]


class SigningSettings(Part):
    """Keys that sign model versions, and those that endpoints trust."""

    keys: int = Field(
        default=1,
        ge=1,
        le=99,
        description="Number of keys that the stack has made: the newest signs, all verify. `llmops keys rotate` raises "
        "it.",
    )
    trusted: dict[KeyId, PublicKey] = Field(
        default={}, description="Further public keys that verify versions, by id: the base64 of their DER."
    )
    revoked: dict[KeyId, Annotated[str, StringConstraints(min_length=1)]] = Field(
        default={},
        description="Keys that no longer verify anything, by id, each with a reason; `llmops keys revoke` writes it.",
    )
