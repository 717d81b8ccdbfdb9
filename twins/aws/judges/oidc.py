"""What a web identity's token says: the provider's ARN and the condition keys of its claims.

The twin does not verify the token's signature: it has no issuer. What is judged is the role's trust policy.
"""

import base64
import binascii
import json
from typing import Any

from twins.aws.calls import ApiError
from twins.aws.judges.account import Account
from twins.aws.judges.context import Context


def read(token: str, account: Account) -> tuple[str, Context]:
    """The ARN of the OIDC provider that issued a token, and the keys `<issuer>:aud`, `<issuer>:sub` …

    Raises:
        ApiError: the token is no JWT, or its issuer is no provider of the account.
    """
    claims = _claims(token)
    issuer = str(claims.get("iss", "")).partition("://")[2].rstrip("/")
    arn = f"arn:{account.partition}:iam::{account.id}:oidc-provider/{issuer}"
    if not account.has_oidc_provider(arn):
        raise ApiError("InvalidIdentityToken", "No OpenIDConnect provider found in your account for " + issuer, 400)
    context: Context = {"aws:FederatedProvider": arn}
    for name, value in claims.items():
        if isinstance(value, str | int):
            context[f"{issuer}:{name}"] = str(value)
        elif isinstance(value, list):
            context[f"{issuer}:{name}"] = [str(each) for each in value]
    return arn, context


def _claims(token: str) -> dict[str, Any]:
    try:
        payload = token.split(".")[1]
        return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (IndexError, ValueError, binascii.Error):
        raise ApiError("InvalidIdentityToken", "The ID Token provided is not a valid JWT.", 400) from None
