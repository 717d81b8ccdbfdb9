"""AWS's signatures, version 4: reads who signed a request, and verifies the signature with that access key's secret.

Written from AWS's documents, not from botocore's signer, which signs in the tests:
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html for the messages of refusals
https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html for signed URLs
"""

import hmac
import posixpath
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from urllib.parse import quote_from_bytes, unquote_to_bytes

from moto.core.request import Request

from llmops_twins.aws.wire.refusals import Refusals

ALGORITHM = "AWS4-HMAC-SHA256"
UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
_TERMINATOR = "aws4_request"
_TIME = "%Y%m%dT%H%M%SZ"
_STAMP = re.compile(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z", re.ASCII)
_SKEW = timedelta(minutes=15)
_MOST_SECONDS = 604_800
_QUERY = ("X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature", "X-Amz-Date", "X-Amz-SignedHeaders")
_UNRESERVED = "-_.~"
_SPACES = re.compile(" +")


@dataclass(frozen=True)
class Signer:
    """The access key, region and service in a request's signature; all empty for an unsigned request."""

    access_key: str = ""
    region: str = ""
    service: str = ""
    day: str = ""
    terminator: str = _TERMINATOR

    @property
    def scope(self) -> str:
        """The credential scope, `day/region/service/terminator`, that Signature Version 4 signs."""
        return f"{self.day}/{self.region}/{self.service}/{self.terminator}"


@dataclass(frozen=True)
class Signature:
    """A signature of version 4. `seconds` is the validity of a signed URL; None for a header."""

    signer: Signer
    headers: tuple[str, ...]
    value: str
    time: str
    seconds: int | None = None


def signature_of(request: Request, refusals: Refusals) -> Signature | None:
    """Returns the signature in a request's header or query; None for an unsigned request.

    Raises:
        AwsApiError: it is incomplete, or there are two.
    """
    header = request.headers.get("Authorization", "")
    in_query = any(name in request.args for name in _QUERY)
    if in_query and header:
        raise refusals.two_signatures()
    if in_query:
        return _of_query(request, refusals)
    return _of_header(request, header, refusals) if header else None


def verify(request: Request, signature: Signature, secret: str, payload: str, refusals: Refusals) -> bytes:
    """Verifies scope, time and signature. Returns the signing key of the scope, which signs the chunks of a body.

    Args:
        request: the unmodified request.
        signature: the request's signature.
        secret: secret of the access key.
        payload: the body's part of the canonical request: its SHA-256, or one of S3's placeholders.
        refusals: errors in the service's protocol.

    Raises:
        AwsApiError: the signature was made with another secret, for another request or at another time, or misses a
            header.
    """
    signer = signature.signer
    if signer.terminator != _TERMINATOR:
        text = f"Credential should be scoped with a valid terminator: '{_TERMINATOR}', not '{signer.terminator}'."
        raise refusals.wrong_scope(text)
    if signature.time[:8] != signer.day:
        text = f"Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{signer.day}' != '{signature.time[:8]}', from '{signature.time}'."  # fmt: skip # noqa: E501
        raise refusals.wrong_scope(text)
    _check_time(signature, refusals)
    _check_headers(request, signature, refusals)
    digest = sha256(canonical_request(request, signature, payload)).hexdigest()
    text = f"{ALGORITHM}\n{signature.time}\n{signer.scope}\n{digest}"
    key = signing_key(secret, signer.day, signer.region, signer.service)
    if not hmac.compare_digest(signed(key, text).encode(), signature.value.encode()):
        raise refusals.wrong_signature()
    return key


def canonical_request(request: Request, signature: Signature, payload: str) -> bytes:
    """Returns the canonical form of a request. S3 signs the path as sent; all other services normalise it and encode it
    again.
    """
    path = unquote_to_bytes(request.raw_path)
    if signature.signer.service == "s3":
        path = quote_from_bytes(path, "/" + _UNRESERVED)
    else:
        path = quote_from_bytes(_normalised(request.raw_path).encode(), "/" + _UNRESERVED)
    presigned = signature.seconds is not None
    query = canonical_query(request.query_string, without="X-Amz-Signature" if presigned else "")
    headers = "".join(f"{name}:{_SPACES.sub(' ', _header(request, name).strip())}\n" for name in signature.headers)
    signed_names = ";".join(signature.headers)
    return f"{request.method}\n{path}\n{query}\n{headers}\n{signed_names}\n{payload}".encode("latin-1")


def canonical_query(query: bytes, without: str = "") -> str:
    """Returns the parameters of a query string, encoded and sorted."""
    pairs = []
    for part in filter(None, query.split(b"&")):
        name, _, value = part.partition(b"=")
        pair = tuple(quote_from_bytes(unquote_to_bytes(each), _UNRESERVED) for each in (name, value))
        if pair[0] != without:
            pairs.append(pair)
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))


@lru_cache(256)
def signing_key(secret: str, day: str, region: str, service: str) -> bytes:
    """Returns the key derived from a secret for a scope."""
    key = f"AWS4{secret}".encode()
    for part in (day, region, service, _TERMINATOR):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def signed(key: bytes, text: str) -> str:
    """Returns a text's signature, in hexadecimal digits."""
    return hmac.digest(key, text.encode(), "sha256").hex()


def _of_header(request: Request, header: str, refusals: Refusals) -> Signature:
    algorithm, _, rest = header.partition(" ")
    if algorithm != ALGORITHM:
        raise refusals.unsupported_algorithm(algorithm)
    given: dict[str, str] = {}
    for part in rest.split(","):
        name, _, value = part.strip().partition("=")
        given[name] = value
    missing = [name for name in ("Credential", "Signature", "SignedHeaders") if not given.get(name)]
    time = request.headers.get("X-Amz-Date") or _iso(request.headers.get("Date", ""))
    problems = [f"Authorization header requires '{name}' parameter." for name in missing]
    if not time:
        problems.append("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
    if problems:
        raise refusals.incomplete(" ".join(problems))
    signer = _signer(given["Credential"], refusals)
    return Signature(signer, _names(given["SignedHeaders"]), given["Signature"], time)


def _of_query(request: Request, refusals: Refusals) -> Signature:
    given = request.args
    if any(len(given.getlist(name)) != 1 for name in (*_QUERY, "X-Amz-Expires")):
        raise refusals.incomplete_query()
    if given["X-Amz-Algorithm"] != ALGORITHM:
        raise refusals.unsupported_algorithm(given["X-Amz-Algorithm"])
    try:
        seconds = int(given["X-Amz-Expires"])
    except ValueError:
        raise refusals.wrong_query("X-Amz-Expires should be a number") from None
    if not 0 <= seconds <= _MOST_SECONDS:
        text = f"X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than {_MOST_SECONDS} seconds"  # fmt: skip # noqa: E501
        raise refusals.wrong_query(text if seconds > 0 else "X-Amz-Expires must be non-negative")
    signer = _signer(given["X-Amz-Credential"], refusals)
    names = _names(given["X-Amz-SignedHeaders"])
    return Signature(signer, names, given["X-Amz-Signature"], given["X-Amz-Date"], seconds)


def _signer(credential: str, refusals: Refusals) -> Signer:
    parts = credential.rsplit("/", 4)
    if len(parts) != 5 or not all(parts):
        raise refusals.wrong_credential(credential)
    access_key, day, region, service, terminator = parts
    return Signer(access_key, region, service, day, terminator)


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.lower().split(";"))


def _check_time(signature: Signature, refusals: Refusals) -> None:
    found = _STAMP.fullmatch(signature.time)
    try:
        year, month, day, hour, minute, second = map(int, found.groups() if found else ())
        made = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        raise refusals.wrong_date(signature.time) from None
    now = datetime.now(UTC)
    if made > now + _SKEW:
        raise refusals.too_early(signature.time, now, _SKEW, presigned=signature.seconds is not None)
    if signature.seconds is None and made < now - _SKEW:
        raise refusals.too_late(signature.time, now, _SKEW)
    if signature.seconds is not None and now >= made + timedelta(seconds=signature.seconds):
        raise refusals.expired(signature.time, now, signature.seconds)


def _check_headers(request: Request, signature: Signature, refusals: Refusals) -> None:
    """Checks that the host and every x-amz- header are signed, so that no intermediary can add one.

    Raises:
        AwsApiError: one is not signed.
    """
    if "host" not in signature.headers:
        raise refusals.unsigned_host()
    present = {name.lower() for name, _ in request.headers}
    unsigned = {name for name in present if name.startswith("x-amz-")} - set(signature.headers)
    if unsigned:
        raise refusals.unsigned_headers(sorted(unsigned))


def _header(request: Request, name: str) -> str:
    return request.headers.get(name, "")


def _normalised(path: str) -> str:
    """Returns a path without dot segments and doubled slashes (RFC 3986, 6.2.2.3); keeps a slash at the end."""
    normal = posixpath.normpath("/" + path.lstrip("/"))
    return normal + "/" if path.endswith(("/", "/.", "/..")) and normal != "/" else normal


def _iso(date: str) -> str:
    """Returns a Date header in the form of X-Amz-Date; one in neither form is unchanged."""
    from email.utils import parsedate_to_datetime

    try:
        return parsedate_to_datetime(date).astimezone(UTC).strftime(_TIME) if date else ""
    except ValueError:
        return date
