"""Authenticates requests by their signature; nothing in a request is trusted before that."""

import hmac
import io
import re
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from moto.core.request import Request

from llmops_twins.aws.twin import AccountTwin
from llmops_twins.aws.wire import payloads, principals, reading
from llmops_twins.aws.wire.refusals import Refusals
from llmops_twins.aws.wire.signatures import signature_of, verify

UNSIGNED = ("sts", "AssumeRoleWithWebIdentity")
"""The operation that needs no signature, because its token authenticates it.
https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html
"""
_REGION = re.compile(r"[a-z]{2,8}(-[a-z]+)+-\d{1,2}")
_SCOPE = re.compile(r"/\d{8}/[^/,\s]+/([^/,\s]+)/aws4_request")
_INVOCATIONS = re.compile(r"/endpoints/[^/]+/(async-)?invocations(-response-stream)?$")
_TOKEN = "X-Amz-Security-Token"


@dataclass(frozen=True)
class RequestSigner:
    """The principal that signed a request, its region, and boto3's name of the service; of an unsigned request only the
    service.
    """

    access_key: str
    principal: str
    region: str
    service: str


def caller_of(twin: AccountTwin, environ: dict[str, Any]) -> RequestSigner:
    """Authenticates a request whose body is buffered, and assembles a body of signed chunks.

    Raises:
        AwsApiError: the signature is missing or invalid; with AWS's code and message.
    """
    request = reading.request_of(environ)
    words = guessed(request)
    signature = signature_of(request, words)
    if signature is None:
        return _of_url(twin, request) if "AWSAccessKeyId" in request.args else _nobody(request, words)
    service = reading.service_of(request, signature.signer.service)
    refusals = _refusals(request, service)
    if not _REGION.fullmatch(signature.signer.region):
        text = f"Credential should be scoped to a valid region, not '{signature.signer.region}'."
        raise refusals.wrong_scope(text)
    token = request.args.get(_TOKEN, "") if signature.seconds is not None else request.headers.get(_TOKEN, "")
    key = principals.key_of(twin, signature.signer.access_key, token, refusals)
    body = environ["wsgi.input"].getvalue()
    payload = payloads.payload_of(request, body, signature, refusals)
    signing_key = verify(request, signature, key.secret, payload, refusals)
    if signature.signer.service == "s3":
        content = payloads.decode(environ, body, signature, signing_key, refusals)
        if content is not None:
            environ.update({"wsgi.input": io.BytesIO(content), "CONTENT_LENGTH": str(len(content))})
    return RequestSigner(signature.signer.access_key, key.principal, signature.signer.region, service)


def guessed(request: Request) -> Refusals:
    """Returns refusals in the protocol of the service that an unauthenticated request appears to address."""
    header = request.headers.get("Authorization", "") + request.args.get("X-Amz-Credential", "")
    found = _SCOPE.search(header)
    if found:
        return _refusals(request, reading.service_of(request, found[1]))
    if "X-Amz-Target" in request.headers:
        return Refusals("sts", "json")
    if request.method == "POST" and _INVOCATIONS.match(request.path):
        return Refusals("sagemaker-runtime", "rest-json")
    return Refusals("sts", "query") if "Action" in request.values else Refusals("s3", "rest-xml")


def _refusals(request: Request, service: str) -> Refusals:
    """Returns refusals in the protocol of a service.

    Raises:
        AwsApiError: there is no such service.
    """
    return Refusals(service, reading.protocol_of(request, reading.model_of(service)))


def _nobody(request: Request, refusals: Refusals) -> RequestSigner:
    service, operation = UNSIGNED
    if request.values.get("Action") == operation and "X-Amz-Target" not in request.headers:
        return RequestSigner("", "", "", service)
    raise refusals.unsigned()


def _of_url(twin: AccountTwin, request: Request) -> RequestSigner:
    """Returns the signer of an S3 URL signed with version 2, as boto3 still creates them for us-east-1.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/RESTAuthentication.html#RESTAuthenticationQueryStringAuth

    Raises:
        AwsApiError: the signature is incomplete, wrong or expired.
    """
    from botocore.auth import HmacV1Auth
    from botocore.compat import HTTPHeaders
    from botocore.credentials import Credentials

    refusals = Refusals("s3", "rest-xml")
    given = {name: request.args.getlist(name) for name in ("AWSAccessKeyId", "Signature", "Expires")}
    if any(len(values) != 1 for values in given.values()):
        text = "Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters"
        raise refusals.wrong_payload(text, "AccessDenied")
    access_key, signature, expires = (values[0] for values in given.values())
    token = request.args.get("x-amz-security-token", "")
    key = principals.key_of(twin, access_key, token, refusals)
    headers = HTTPHeaders()
    for name, value in request.headers:
        if name.lower().startswith("x-amz-") or name.lower() in ("content-md5", "content-type"):
            headers[name] = value
    if token:
        headers["x-amz-security-token"] = token
    place = reading.path_style(request.host, request.raw_path)
    url = urlsplit(f"http://{request.host}{request.raw_path}?{request.query_string.decode('latin-1')}")
    auth = HmacV1Auth(Credentials(access_key, key.secret))
    auth._get_date = lambda: expires  # a signed URL has its expiry time in place of the date
    expected = auth.get_signature(request.method, url, headers, auth_path=place)
    if not hmac.compare_digest(expected.encode(), signature.encode()):
        raise refusals.wrong_signature()
    if not expires.isdecimal() or int(expires) <= time.time():
        raise refusals.wrong_payload("Request has expired", "AccessDenied")
    return RequestSigner(access_key, key.principal, twin.region, "s3")
