"""How AWS refuses who can't show who they are, in the words and codes of a service's protocol.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html
https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from twins.aws.wire.calls import AwsApiError

_MISMATCH = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key "
    "and signing method. Consult the service documentation for details."
)
_S3_MISMATCH = (
    "The request signature we calculated does not match the signature you provided. Check your key and signing method."
)
_QUERY_NEEDS = (
    "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, "
    "X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters."
)


@dataclass(frozen=True)
class Refusals:
    """Of one service: S3's own words, the query protocols' codes, or those of the services that speak JSON."""

    service: str
    protocol: str

    @property
    def _s3(self) -> bool:
        return self.service in ("s3", "s3control")

    @property
    def _query(self) -> bool:
        return self.protocol in ("query", "ec2", "rest-xml")

    def unknown_key(self) -> AwsApiError:
        """The access key is nobody's, or its session token is wrong."""
        if self._s3:
            message = "The AWS Access Key Id you provided does not exist in our records."
            return AwsApiError("InvalidAccessKeyId", message, 403)
        code = "InvalidClientTokenId" if self._query else "UnrecognizedClientException"
        return AwsApiError(code, "The security token included in the request is invalid.", 403)

    def expired_token(self) -> AwsApiError:
        """The session is over."""
        if self._s3:
            return AwsApiError("ExpiredToken", "The provided token has expired.", 400)
        code = "ExpiredToken" if self._query else "ExpiredTokenException"
        return AwsApiError(code, "The security token included in the request is expired", 403)

    def unsigned(self) -> AwsApiError:
        """Nobody signed what must be signed."""
        if self._s3:
            return AwsApiError("AccessDenied", "Access Denied", 403)
        code = "MissingAuthenticationToken" if self._query else "MissingAuthenticationTokenException"
        return AwsApiError(code, "Missing Authentication Token", 403)

    def incomplete(self, problems: str) -> AwsApiError:
        """The Authorization header lacks a part."""
        if self._s3:
            return AwsApiError(
                "AuthorizationHeaderMalformed", f"The authorization header is malformed; {problems}", 400
            )
        return AwsApiError(self._code("IncompleteSignature"), problems, 400)

    def incomplete_query(self) -> AwsApiError:
        """A signed URL lacks a parameter, or has one twice."""
        return self.wrong_query(_QUERY_NEEDS)

    def wrong_query(self, text: str) -> AwsApiError:
        """A signed URL has a parameter that is none."""
        if self._s3:
            return AwsApiError("AuthorizationQueryParametersError", text, 400)
        return AwsApiError(self._code("IncompleteSignature"), text, 400)

    def two_signatures(self) -> AwsApiError:
        """A header and a query both say who signed."""
        text = "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or the Authorization header should be specified"  # fmt: skip # noqa: E501
        return AwsApiError("InvalidArgument" if self._s3 else self._code("IncompleteSignature"), text, 400)

    def unsupported_algorithm(self, algorithm: str) -> AwsApiError:
        """Another algorithm than version 4's with a secret; the asymmetric one (SigV4a) is none of the twin's."""
        if self._s3:
            text = (
                "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256."
                if algorithm == "AWS" or algorithm.startswith("AWS4-ECDSA")
                else "Unsupported Authorization Type"
            )
            return AwsApiError("InvalidRequest" if algorithm.startswith("AWS") else "InvalidArgument", text, 400)
        text = f"Unsupported AWS 'algorithm': '{algorithm}'"
        return AwsApiError(self._code("IncompleteSignature"), text, 400)

    def wrong_credential(self, credential: str) -> AwsApiError:
        """A credential without its five parts."""
        text = f"Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '{credential}'"  # fmt: skip # noqa: E501
        return self.incomplete(text)

    def wrong_scope(self, text: str) -> AwsApiError:
        """The signature was made for another day, service or end."""
        if self._s3:
            return AwsApiError("AuthorizationHeaderMalformed", f"The authorization header is malformed; {text}", 400)
        return self._mismatch(text)

    def wrong_service(self, service: str = "") -> AwsApiError:
        """The request is for another service than the one that it was signed for."""
        return self.wrong_scope(
            f"Credential should be scoped to correct service: '{service}'."
            if service
            else "Credential should be scoped to correct service."
        )

    def wrong_date(self, date: str) -> AwsApiError:
        """The date is none."""
        if self._s3:
            return AwsApiError("AccessDenied", "AWS authentication requires a valid Date or x-amz-date header", 403)
        text = f"Date must be in ISO-8601 'basic format'. Got '{date}'. See http://en.wikipedia.org/wiki/ISO_8601"
        return AwsApiError(self._code("IncompleteSignature"), text, 400)

    def too_early(self, made: str, now: datetime, skew: timedelta, *, presigned: bool) -> AwsApiError:
        """Signed later than the clock here says, by more than clocks may differ."""
        if self._s3:
            return AwsApiError("AccessDenied", "Request is not yet valid", 403) if presigned else self._skewed()
        text = f"Signature not yet current: {made} is still later than {_iso(now + skew)} ({_iso(now)} + 15 min.)"
        return self._mismatch(text)

    def too_late(self, made: str, now: datetime, skew: timedelta) -> AwsApiError:
        """Signed too long ago."""
        if self._s3:
            return self._skewed()
        text = f"Signature expired: {made} is now earlier than {_iso(now - skew)} ({_iso(now)} - 15 min.)"
        return self._mismatch(text)

    def expired(self, made: str, now: datetime, seconds: int) -> AwsApiError:
        """A signed URL whose time is over."""
        if self._s3:
            return AwsApiError("AccessDenied", "Request has expired", 403)
        return self._mismatch(f"Signature expired: {made} + {seconds} s is now earlier than {_iso(now)}")

    def unsigned_host(self) -> AwsApiError:
        """The host is no part of the signature."""
        return self._mismatch("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.")

    def unsigned_headers(self, names: Sequence[str]) -> AwsApiError:
        """Headers that change what a request means are no part of the signature."""
        text = f"There were headers present in the request which were not signed: {', '.join(names)}"
        return AwsApiError("AccessDenied", text, 403) if self._s3 else self._mismatch(text)

    def wrong_signature(self) -> AwsApiError:
        """Another secret, or another request."""
        return self._mismatch(_S3_MISMATCH if self._s3 else _MISMATCH)

    def wrong_payload(self, text: str, code: str = "XAmzContentSHA256Mismatch") -> AwsApiError:
        """The body is not the one that was signed."""
        return AwsApiError(code, text, 400)

    def _mismatch(self, text: str) -> AwsApiError:
        return AwsApiError("SignatureDoesNotMatch" if self._query else "InvalidSignatureException", text, 403)

    def _skewed(self) -> AwsApiError:
        text = "The difference between the request time and the current time is too large."
        return AwsApiError("RequestTimeTooSkewed", text, 403)

    def _code(self, code: str) -> str:
        return code if self._query else f"{code}Exception"


def _iso(time: datetime) -> str:
    return time.strftime("%Y%m%dT%H%M%SZ")
