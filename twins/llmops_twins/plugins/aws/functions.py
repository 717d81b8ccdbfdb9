"""The functions that programs may call: those that the kit uses."""

from base64 import b64encode
from collections.abc import Callable
from typing import Any

from llmops_twins.plugins.aws.calls import AwsError, ResourceOperation
from llmops_twins.plugins.aws.session import AwsSession
from llmops_twins.plugins.plugin import Failure, PluginRequest, ProviderError

Arguments = dict[str, Any]


def invoke(session: AwsSession, token: str, arguments: Arguments) -> tuple[Arguments, list[Failure]]:
    """Returns a function's result, including its arguments, as the SDK expects.

    Raises:
        ProviderError: the function is unknown here, or the twin refused.
    """
    function = FUNCTIONS.get(token)
    if function is None:
        known = ", ".join(sorted(FUNCTIONS))
        raise ProviderError(f"the stand-in plugin does not know the function {token}; it knows {known}")
    region = arguments.get("region") or session.region
    work = ResourceOperation(PluginRequest(session, "", "aws:index:Function", ""), state={"region": region})
    try:
        result = function(work, arguments)
    except AwsError as error:
        raise ProviderError(f"invoking {token}: 1 error occurred:\n\t* {error}\n") from None
    given = {k: v for k, v in arguments.items() if v is not None}
    return {**given, "region": region, **result}, []


def _public_key(work: ResourceOperation, given: Arguments) -> Arguments:
    grants = {"GrantTokens": given["grantTokens"]} if given.get("grantTokens") else {}
    told = work.call("kms", "GetPublicKey", KeyId=given["keyId"], **grants)
    encoded = b64encode(told["PublicKey"]).decode()
    lines = "\n".join(encoded[i : i + 64] for i in range(0, len(encoded), 64))
    return {
        "id": told["KeyId"],
        "arn": told["KeyId"],
        "publicKey": encoded,
        "publicKeyPem": f"-----BEGIN PUBLIC KEY-----\n{lines}\n-----END PUBLIC KEY-----\n",
        "customerMasterKeySpec": told.get("KeySpec") or told.get("CustomerMasterKeySpec", ""),
        "keyUsage": told["KeyUsage"],
        "signingAlgorithms": told.get("SigningAlgorithms", []),
        "encryptionAlgorithms": told.get("EncryptionAlgorithms", []),
    }


FUNCTIONS: dict[str, Callable[[ResourceOperation, Arguments], Arguments]] = {
    "aws:kms/getPublicKey:getPublicKey": _public_key
}
