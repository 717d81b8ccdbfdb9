"""Bearer tokens for SageMaker's OpenAI route: what an OpenAI client takes for its key.

https://docs.aws.amazon.com/sagemaker/latest/dg/realtime-endpoints-openai-compatible.html
"""

import base64

from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest

from contract.errors import KitError
from llmops.platforms.aws.clients import Clients

_HOST = "sagemaker.amazonaws.com"
_PREFIX = "sagemaker-api-key-"
_SERVICE = "sagemaker"


def bearer_token(clients: Clients, hours: float) -> str:
    """A token that lets its bearer call endpoints as the caller: a signed request for CallWithBearerToken.

    Made on this machine, in the form of `sagemaker.core.token_generator`. It ends with the credentials that signed it,
    if they end sooner. Who uses it needs sagemaker:CallWithBearerToken and, on the endpoint, sagemaker:InvokeEndpoint.

    Args:
        clients: of the endpoint's account and region.
        hours: how long it is valid; AWS takes 12 at most.

    Raises:
        KitError: there are no credentials.
    """
    credentials = clients.credentials
    if credentials is None:
        raise KitError("there are no AWS credentials to sign a token with", fix="`aws sso login` or $AWS_PROFILE")
    request = AWSRequest(
        method="POST", url=f"https://{_HOST}/", headers={"host": _HOST}, params={"Action": "CallWithBearerToken"}
    )
    signer = SigV4QueryAuth(credentials, _SERVICE, clients.caller.region, expires=int(hours * 3600))
    signer.add_auth(request)
    signed = f"{str(request.url).removeprefix('https://')}&Version=1"
    return _PREFIX + base64.b64encode(signed.encode()).decode()


def openai_url(clients: Clients, endpoint: str) -> str:
    """The base URL of an endpoint for OpenAI clients, which add `/chat/completions`.

    Args:
        clients: of the endpoint's account and region.
        endpoint: its name on SageMaker.
    """
    caller = clients.caller
    base = caller.twin.rstrip("/") or f"https://runtime.sagemaker.{caller.region}.amazonaws.com"
    return f"{base}/endpoints/{endpoint}/openai/v1"
