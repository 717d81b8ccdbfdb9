"""Tokens of Microsoft Entra ID for endpoints: what an OpenAI client takes for its key.

https://learn.microsoft.com/azure/machine-learning/how-to-authenticate-online-endpoint
"""

from clouds.azure.session import ML_SCOPE, AzureSession
from contract.errors import KitError


def bearer_token(session: AzureSession, hours: float) -> str:
    """A token that lets its bearer ask endpoints as the caller, who needs the role AzureML Data Scientist.

    It ends as Entra ID says, an hour or a little more after it was given; nobody can choose that.

    Args:
        session: of the stack's tenant.
        hours: how long it is wanted; one at most.

    Raises:
        KitError: it is wanted for longer, or there are no credentials.
    """
    if hours > 1:
        raise KitError(
            "a token of Entra ID ends after about an hour, which can't be chosen",
            where="--hours",
            fix="leave it out, and take a new one when it has ended",
        )
    return session.token(ML_SCOPE)
