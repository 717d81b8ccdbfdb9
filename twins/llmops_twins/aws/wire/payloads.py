"""Signed payloads: the hash of a body, an unsigned body, or a body in signed chunks.

https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html
https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html
"""

import hmac
import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from moto.core.request import Request

from llmops_twins.aws.wire.refusals import Refusals
from llmops_twins.aws.wire.signatures import UNSIGNED_PAYLOAD, Signature, signed

_SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
_SIGNED_TRAILER = f"{_SIGNED}-TRAILER"
_UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
_HEADER = "x-amz-content-sha256"
_HASH = re.compile(r"[0-9a-f]{64}")
_CHUNK = re.compile(rb"([0-9a-fA-F]{1,8})(?:;chunk-signature=([0-9a-f]{64}))?")
_TRAILER = re.compile(rb"(x-amz-[a-z0-9-]+):([^\r\n]*)")
_EMPTY = sha256(b"").hexdigest()


def payload_of(request: Request, body: bytes, signature: Signature, refusals: Refusals) -> str:
    """Returns the payload hash of the canonical request, or S3's placeholder for it.

    Raises:
        AwsApiError: S3's header is missing or has an unknown value, or does not match the body.
    """
    if signature.signer.service != "s3":
        return sha256(body).hexdigest()
    if signature.seconds is not None:
        return request.headers.get(_HEADER, UNSIGNED_PAYLOAD)
    said = request.headers.get(_HEADER, "")
    if not said:
        raise refusals.wrong_payload("Missing required header for this request: x-amz-content-sha256", "InvalidRequest")
    if said in (UNSIGNED_PAYLOAD, _SIGNED, _SIGNED_TRAILER, _UNSIGNED_TRAILER):
        return said
    if not _HASH.fullmatch(said):
        text = "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid sha256 value."  # fmt: skip # noqa: E501
        raise refusals.wrong_payload(text, "InvalidArgument")
    if said != sha256(body).hexdigest():
        raise refusals.wrong_payload("The provided 'x-amz-content-sha256' header does not match what was computed.")
    return said


def decode(environ: dict[str, Any], body: bytes, signature: Signature, key: bytes, refusals: Refusals) -> bytes | None:
    """Returns the content of a body in signed chunks, after verifying each signature; None if it is not in chunks.

    Replaces headers about chunks by those of a plain body, so that nothing decodes it a second time.

    Raises:
        AwsApiError: a chunk or the trailer was signed with another key, or the body is not a sequence of chunks.
    """
    kind = environ.get("HTTP_X_AMZ_CONTENT_SHA256", "")
    if kind not in (_SIGNED, _SIGNED_TRAILER, _UNSIGNED_TRAILER):
        return None
    chain = None if kind == _UNSIGNED_TRAILER else _Chain(signature, key)
    pieces, trailer = _chunks(body, chain, refusals)
    content = b"".join(pieces)
    if str(len(content)) != environ.get("HTTP_X_AMZ_DECODED_CONTENT_LENGTH", ""):
        text = "You did not provide the number of bytes specified by the x-amz-decoded-content-length HTTP header"
        raise refusals.wrong_payload(text, "IncompleteBody")
    named = environ.pop("HTTP_X_AMZ_TRAILER", "").lower()
    for name, value in trailer.items():
        if name != named:
            raise refusals.wrong_payload(
                "The request contained trailing data that was not declared", "MalformedTrailerError"
            )
        environ["HTTP_" + name.upper().replace("-", "_")] = value
    encodings = [each.strip() for each in environ.get("HTTP_CONTENT_ENCODING", "").split(",")]
    environ["HTTP_CONTENT_ENCODING"] = ",".join(each for each in encodings if each not in ("", "aws-chunked"))
    if not environ["HTTP_CONTENT_ENCODING"]:
        del environ["HTTP_CONTENT_ENCODING"]
    environ["HTTP_X_AMZ_CONTENT_SHA256"] = UNSIGNED_PAYLOAD
    return content


@dataclass
class _Chain:
    """A chain of chunk signatures: each covers the one before it, the first the request's."""

    signature: Signature
    key: bytes
    last: str = ""

    def holds(self, kind: str, given: str, *hashes: str) -> bool:
        """Returns whether this is the next signature of the chain."""
        before = self.last or self.signature.value
        lines = (f"AWS4-HMAC-SHA256-{kind}", self.signature.time, self.signature.signer.scope, before, *hashes)
        self.last = signed(self.key, "\n".join(lines))
        return hmac.compare_digest(self.last, given)


def _chunks(body: bytes, chain: _Chain | None, refusals: Refusals) -> tuple[list[bytes], dict[str, str]]:
    pieces: list[bytes] = []
    at = 0
    while True:
        end = body.find(b"\r\n", at, at + 200)
        found = _CHUNK.fullmatch(body, at, end) if end >= 0 else None
        if not found or (found[2] is not None) != (chain is not None):
            raise refusals.wrong_payload("The body is not in the chunks that its headers promise", "IncompleteBody")
        size, at = int(found[1], 16), end + 2
        piece = body[at : at + size]
        if chain and not chain.holds("PAYLOAD", found[2].decode(), _EMPTY, sha256(piece).hexdigest()):
            raise refusals.wrong_signature()
        if not size:
            return pieces, _trailer(body[at:], chain, refusals)
        if len(piece) != size or body[at + size : at + size + 2] != b"\r\n":
            raise refusals.wrong_payload("A chunk of the body is not as long as it says", "IncompleteBody")
        pieces.append(piece)
        at += size + 2


def _trailer(rest: bytes, chain: _Chain | None, refusals: Refusals) -> dict[str, str]:
    """Returns the headers after the last chunk, verified if the chunks are signed."""
    lines = [line.rstrip(b"\r") for line in rest.split(b"\n") if line.strip()]
    found = [_TRAILER.fullmatch(line) for line in lines]
    if not all(found) or len(lines) > 4:
        raise refusals.wrong_payload("The request contained trailing data that is no header", "MalformedTrailerError")
    trailer = {each[1].decode(): each[2].decode("latin-1").strip() for each in found if each}
    given = trailer.pop("x-amz-trailer-signature", "")
    if chain and trailer:
        text = "".join(f"{name}:{value}\n" for name, value in trailer.items())
        if not chain.holds("TRAILER", given, sha256(text.encode("latin-1")).hexdigest()):
            raise refusals.wrong_signature()
    return trailer
