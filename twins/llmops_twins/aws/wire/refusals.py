"""AWS's refusals of unauthenticated requests, with the messages and codes of a service's protocol.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html
https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from llmops_twins.aws.calls import AwsApiError

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
    """The refusals of one service: with S3's messages, with the codes of the query protocols, or with those of JSON
    services.
    """

    service: str
    protocol: str

    @property
    def _s3(self) -> bool:
        return self.service in ("s3", "s3control")

    @property
    def _query(self) -> bool:
        return self.protocol in ("query", "ec2", "rest-xml")

    def unknown_key(self) -> AwsApiError:
        """Returns the error for an unknown access key or a wrong session token."""
        if self._s3:
            message = "The AWS Access Key Id you provided does not exist in our records."
            return AwsApiError("InvalidAccessKeyId", message, 403)
        code = "InvalidClientTokenId" if self._query else "UnrecognizedClientException"
        return AwsApiError(code, "The security token included in the request is invalid.", 403)

    def expired_token(self) -> AwsApiError:
        """Returns the error for an expired session."""
        if self._s3:
            return AwsApiError("ExpiredToken", "The provided token has expired.", 400)
        code = "ExpiredToken" if self._query else "ExpiredTokenException"
        return AwsApiError(code, "The security token included in the request is expired", 403)

    def unsigned(self) -> AwsApiError:
        """Returns the error for a request without the required signature."""
        if self._s3:
            return AwsApiError("AccessDenied", "Access Denied", 403)
        code = "MissingAuthenticationToken" if self._query else "MissingAuthenticationTokenException"
        return AwsApiError(code, "Missing Authentication Token", 403)

    def incomplete(self, problems: str) -> AwsApiError:
        """Returns the error for an Authorization header that lacks a part."""
        if self._s3:
            return AwsApiError(
                "AuthorizationHeaderMalformed", f"The authorization header is malformed; {problems}", 400
            )
        return AwsApiError(self._code("IncompleteSignature"), problems, 400)

    def incomplete_query(self) -> AwsApiError:
        """Returns the error for a signed URL that lacks a parameter, or repeats one."""
        return self.wrong_query(_QUERY_NEEDS)

    def wrong_query(self, text: str) -> AwsApiError:
        """Returns the error for a signed URL with an invalid parameter."""
        if self._s3:
            return AwsApiError("AuthorizationQueryParametersError", text, 400)
        return AwsApiError(self._code("IncompleteSignature"), text, 400)

    def two_signatures(self) -> AwsApiError:
        """Returns the error for a request signed in header and query."""
        text = "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or the Authorization header should be specified"  # fmt: skip # noqa: E501
        return AwsApiError("InvalidArgument" if self._s3 else self._code("IncompleteSignature"), text, 400)

    def unsupported_algorithm(self, algorithm: str) -> AwsApiError:
        """Returns the error for algorithms other than version 4 with a secret key; asymmetric signatures (SigV4a) are
        refused too.
        """
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
        """Returns the error for a credential without its five parts."""
        text = f"Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '{credential}'"  # fmt: skip # noqa: E501
        return self.incomplete(text)

    def wrong_scope(self, text: str) -> AwsApiError:
        """Returns the error for a signature with the wrong day, service or terminator."""
        if self._s3:
            return AwsApiError("AuthorizationHeaderMalformed", f"The authorization header is malformed; {text}", 400)
        return self._mismatch(text)

    def wrong_service(self, service: str = "") -> AwsApiError:
        """Returns the error for a request to another service than the one it was signed for."""
        return self.wrong_scope(
            f"Credential should be scoped to correct service: '{service}'."
            if service
            else "Credential should be scoped to correct service."
        )

    def wrong_date(self, date: str) -> AwsApiError:
        """Returns the error for an invalid date."""
        if self._s3:
            return AwsApiError("AccessDenied", "AWS authentication requires a valid Date or x-amz-date header", 403)
        text = f"Date must be in ISO-8601 'basic format'. Got '{date}'. See http://en.wikipedia.org/wiki/ISO_8601"
        return AwsApiError(self._code("IncompleteSignature"), text, 400)

    def too_early(self, made: str, now: datetime, skew: timedelta, *, presigned: bool) -> AwsApiError:
        """Returns the error for a signature too far in the future."""
        if self._s3:
            return AwsApiError("AccessDenied", "Request is not yet valid", 403) if presigned else self._skewed()
        text = f"Signature not yet current: {made} is still later than {_iso(now + skew)} ({_iso(now)} + 15 min.)"
        return self._mismatch(text)

    def too_late(self, made: str, now: datetime, skew: timedelta) -> AwsApiError:
        """Returns the error for an old signature."""
        if self._s3:
            return self._skewed()
        text = f"Signature expired: {made} is now earlier than {_iso(now - skew)} ({_iso(now)} - 15 min.)"
        return self._mismatch(text)

    def expired(self, made: str, now: datetime, seconds: int) -> AwsApiError:
        """Returns the error for an expired signed URL."""
        if self._s3:
            return AwsApiError("AccessDenied", "Request has expired", 403)
        return self._mismatch(f"Signature expired: {made} + {seconds} s is now earlier than {_iso(now)}")

    def unsigned_host(self) -> AwsApiError:
        """Returns the error for a signature that does not cover the host."""
        return self._mismatch("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.")

    def unsigned_headers(self, names: Sequence[str]) -> AwsApiError:
        """Returns the error for a signature that does not cover headers that change a request's meaning."""
        text = f"There were headers present in the request which were not signed: {', '.join(names)}"
        return AwsApiError("AccessDenied", text, 403) if self._s3 else self._mismatch(text)

    def wrong_signature(self) -> AwsApiError:
        """Returns the error for a signature made with another secret, or for another request."""
        return self._mismatch(_S3_MISMATCH if self._s3 else _MISMATCH)

    def wrong_payload(self, text: str, code: str = "XAmzContentSHA256Mismatch") -> AwsApiError:
        """Returns the error for a body that differs from the signed one."""
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
