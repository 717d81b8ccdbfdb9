"""Bearer tokens of SageMaker: a presigned request for CallWithBearerToken, created from AWS credentials without a call.

As `sagemaker.core.token_generator` makes them: https://github.com/aws/sagemaker-python-sdk
"""

import base64
import binascii
import hmac
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from urllib.parse import parse_qsl, urlsplit

from llmops_twins.aws.calls import AwsApiError
from llmops_twins.aws.wire.signatures import ALGORITHM, canonical_query, signed, signing_key

_PREFIX = "sagemaker-api-key-"
_HOST = "sagemaker.amazonaws.com"
_SERVICE = "sagemaker"
_MOST_SECONDS = 43_200
_SKEW = timedelta(minutes=15)  # tolerance for a clock that is ahead
_CREDENTIAL = re.compile(r"(?P<key>\w+)/(?P<day>\d{8})/(?P<region>[a-z0-9-]+)/sagemaker/aws4_request")


@dataclass(frozen=True)
class Token:
    """The content of a token whose signature is not verified yet."""

    access_key: str
    region: str
    session: str
    made: datetime
    seconds: int
    query: str
    """The signed query string."""
    signature: str


def read(authorization: str) -> Token:
    """Reads the token of an Authorization header.

    Raises:
        AwsApiError: the token is missing, is not one of SageMaker's, or asks for more than 12 hours.
    """
    scheme, _, text = authorization.partition(" ")
    if scheme.lower() != "bearer" or not text.startswith(_PREFIX):
        raise _refused("MissingAuthenticationTokenException", "a bearer token of SageMaker is missing")
    try:
        url = urlsplit("https://" + base64.b64decode(text.removeprefix(_PREFIX), validate=True).decode())
        given = dict(parse_qsl(url.query, strict_parsing=True))
        found = _CREDENTIAL.fullmatch(given["X-Amz-Credential"])
        made = datetime.strptime(given["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        seconds, signature = int(given["X-Amz-Expires"]), given["X-Amz-Signature"]
    except (binascii.Error, ValueError, KeyError) as e:
        raise _refused("InvalidSignatureException", "the bearer token can't be read") from e
    right = url.netloc == _HOST and given.get("Action") == "CallWithBearerToken" and given.get("Version") == "1"
    if not found or not right:
        raise _refused("InvalidSignatureException", "the bearer token is not one for SageMaker's endpoints")
    if not 0 < seconds <= _MOST_SECONDS:
        raise _refused("InvalidSignatureException", f"a bearer token lasts {_MOST_SECONDS} seconds at most")
    signed = "&".join(pair for pair in url.query.split("&") if not pair.startswith(("X-Amz-Signature=", "Version=")))
    session = given.get("X-Amz-Security-Token", "")
    return Token(found["key"], found["region"], session, made, seconds, signed, signature)


def verify(token: Token, secret: str) -> None:
    """Verifies signature and validity period.

    Raises:
        AwsApiError: the token is expired, or signed with another secret.
    """
    if not hmac.compare_digest(_signature(token, secret).encode(), token.signature.encode()):
        raise _refused("InvalidSignatureException", "the signature of the bearer token does not match")
    now = datetime.now(UTC)
    if now < token.made - _SKEW:
        raise _refused("InvalidSignatureException", "the bearer token was made in the future")
    if now >= token.made + timedelta(seconds=token.seconds):
        raise _refused("ExpiredTokenException", "the bearer token is expired")


def _signature(token: Token, secret: str) -> str:
    query = canonical_query(token.query.encode())
    request = f"POST\n/\n{query}\nhost:{_HOST}\n\nhost\n{sha256(b'').hexdigest()}"
    day = token.made.strftime("%Y%m%d")
    scope = f"{day}/{token.region}/{_SERVICE}/aws4_request"
    time = token.made.strftime("%Y%m%dT%H%M%SZ")
    text = f"{ALGORITHM}\n{time}\n{scope}\n{sha256(request.encode()).hexdigest()}"
    return signed(signing_key(secret, day, token.region, _SERVICE), text)


def _refused(code: str, reason: str) -> AwsApiError:
    return AwsApiError(code, f"Authentication failed: {reason}.", 403)
