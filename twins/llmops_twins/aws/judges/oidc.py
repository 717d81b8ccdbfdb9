"""Reads web identity tokens: the provider's ARN and the condition keys of the claims.

https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html
"""

from typing import Any

from llmops_twins.aws.calls import AwsApiError
from llmops_twins.aws.judges.account import JudgedAccount
from llmops_twins.aws.judges.context import Context
from llmops_twins.aws.twin import AccountTwin
from llmops_twins.core import web_identity


def claims_of(twin: AccountTwin, token: str) -> dict[str, Any]:
    """Returns the claims of a web identity token that the twin issued on behalf of an external issuer.

    Raises:
        AwsApiError: the token was made elsewhere, has expired, or is malformed.
    """
    try:
        return web_identity.claims_of(twin.home, token)
    except TimeoutError:
        raise AwsApiError("ExpiredTokenException", "Token expired: the ID Token's exp has passed.", 400) from None
    except ValueError as e:
        text = f"Couldn't retrieve verification key from your identity provider: {e}"
        raise AwsApiError("InvalidIdentityToken", text, 400) from e


def read(token: str, account: JudgedAccount) -> tuple[str, Context]:
    """Returns the ARN of the OIDC provider that issued a token, and the keys `<issuer>:aud`, `<issuer>:sub` …

    Raises:
        AwsApiError: the twin did not issue the token, or its issuer is not an OIDC provider of the account.
    """
    claims = claims_of(account.twin, token)
    issuer = str(claims.get("iss", "")).partition("://")[2].rstrip("/")
    arn = f"arn:{account.partition}:iam::{account.id}:oidc-provider/{issuer}"
    if not account.has_oidc_provider(arn):
        raise AwsApiError("InvalidIdentityToken", "No OpenIDConnect provider found in your account for " + issuer, 400)
    context: Context = {"aws:FederatedProvider": arn}
    for name, value in claims.items():
        if isinstance(value, str | int):
            context[f"{issuer}:{name}"] = str(value)
        elif isinstance(value, list):
            context[f"{issuer}:{name}"] = [str(each) for each in value]
    return arn, context
