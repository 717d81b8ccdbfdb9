"""Signatures against the examples that AWS publishes, which neither this code nor botocore made."""

from hashlib import sha256

import pytest
from moto.core.request import Request

from llmops_twins.aws.calls import AwsApiError
from llmops_twins.aws.wire import payloads
from llmops_twins.aws.wire.refusals import Refusals
from llmops_twins.aws.wire.signatures import (
    ALGORITHM,
    Signature,
    Signer,
    canonical_request,
    signature_of,
    signed,
    signing_key,
)

EXAMPLE_KEY, EXAMPLE_SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
BUCKET = "http://examplebucket.s3.amazonaws.com"
EMPTY = sha256(b"").hexdigest()
S3 = Refusals("s3", "rest-xml")
IAM = Refusals("iam", "query")


def computed(request: Request, signature: Signature, payload: str, secret: str) -> str:
    scope = signature.signer
    digest = sha256(canonical_request(request, signature, payload)).hexdigest()
    key = signing_key(secret, scope.day, scope.region, scope.service)
    return signed(key, f"{ALGORITHM}\n{signature.time}\n{scope.scope}\n{digest}")


def read(request: Request, refusals: Refusals) -> Signature:
    found = signature_of(request, refusals)
    assert found
    return found


@pytest.mark.parametrize(
    ("method", "url", "headers", "body", "expected"),
    [
        (
            *("GET", f"{BUCKET}/test.txt", {"Range": "bytes=0-9"}, b""),
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            *("PUT", f"{BUCKET}/test%24file.text"),
            {"Date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY"},
            *(b"Welcome to Amazon S3.", "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"),
        ),
        (
            *("GET", f"{BUCKET}/?lifecycle", {}, b""),
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        ),
        (
            *("GET", f"{BUCKET}/?max-keys=2&prefix=J", {}, b""),
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ],
)
def test_s3s_examples(method: str, url: str, headers: dict[str, str], body: bytes, expected: str) -> None:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html"""
    payload = sha256(body).hexdigest()
    own = {"Host": "examplebucket.s3.amazonaws.com", "x-amz-date": "20130524T000000Z", "x-amz-content-sha256": payload}
    names = ";".join(sorted(name.lower() for name in {**headers, **own}))
    credential = f"{EXAMPLE_KEY}/20130524/us-east-1/s3/aws4_request"
    text = f"{ALGORITHM} Credential={credential},SignedHeaders={names},Signature={expected}"
    request = Request.from_primitives(method, url, {**headers, **own, "Authorization": text}, body)
    found = read(request, S3)
    assert found.signer == Signer(EXAMPLE_KEY, "us-east-1", "s3", "20130524")
    assert payloads.payload_of(request, body, found, S3) == payload
    assert computed(request, found, payload, EXAMPLE_SECRET) == expected


def test_s3s_example_of_a_signed_url() -> None:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html"""
    expected = "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    query = (
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2F"
        "aws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
    )
    url = f"{BUCKET}/test.txt?{query}&X-Amz-Signature={expected}"
    request = Request.from_primitives("GET", url, {"Host": "examplebucket.s3.amazonaws.com"})
    found = read(request, S3)
    assert found.seconds == 86400
    assert computed(request, found, payloads.payload_of(request, b"", found, S3), EXAMPLE_SECRET) == expected


def test_the_example_of_iam() -> None:
    """https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html"""
    expected = "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
    credential = "AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request"
    headers = {
        "Host": "iam.amazonaws.com",
        "Content-Type": "application/x-www-form-urlencoded; charset=utf-8",
        "X-Amz-Date": "20150830T123600Z",
        "Authorization": f"{ALGORITHM} Credential={credential}, SignedHeaders=content-type;host;x-amz-date, "
        f"Signature={expected}",
    }
    url = "http://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08"
    request = Request.from_primitives("GET", url, headers)
    secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
    assert computed(request, read(request, IAM), EMPTY, secret) == expected


def chunked(signatures: list[str], content: bytes) -> bytes:
    pieces = [content[:65536], content[65536:], b""]
    chunks = zip(pieces, signatures, strict=True)
    return b"".join(b"%x;chunk-signature=%s\r\n%s\r\n" % (len(p), s.encode(), p) for p, s in chunks)


def test_s3s_example_of_signed_chunks() -> None:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html"""
    signer = Signer(EXAMPLE_KEY, "us-east-1", "s3", "20130524")
    seed = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
    signature = Signature(signer, ("host",), seed, "20130524T000000Z")
    key = signing_key(EXAMPLE_SECRET, "20130524", "us-east-1", "s3")
    signatures = [
        "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
        "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
        "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
    ]
    content = b"a" * 66560

    def environ(length: int = 66560) -> dict[str, str]:
        return {
            "HTTP_X_AMZ_CONTENT_SHA256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
            "HTTP_X_AMZ_DECODED_CONTENT_LENGTH": str(length),
            "HTTP_CONTENT_ENCODING": "aws-chunked,gzip",
        }

    given = environ()
    assert payloads.decode(given, chunked(signatures, content), signature, key, S3) == content
    assert (given["HTTP_CONTENT_ENCODING"], given["HTTP_X_AMZ_CONTENT_SHA256"]) == ("gzip", "UNSIGNED-PAYLOAD")
    for wrong, body, code in (
        (environ(), chunked(signatures, b"b" + content[1:]), "SignatureDoesNotMatch"),
        (environ(), chunked([signatures[1], signatures[0], signatures[2]], content), "SignatureDoesNotMatch"),
        (environ(), chunked(signatures, content).replace(b";chunk-signature=", b";x="), "IncompleteBody"),
        (environ(66561), chunked(signatures, content), "IncompleteBody"),
        (environ(), chunked(signatures, content)[:1000], "SignatureDoesNotMatch"),
        (environ(), b"", "IncompleteBody"),
    ):
        with pytest.raises(AwsApiError) as refused:
            payloads.decode(wrong, body, signature, key, S3)
        assert refused.value.code == code


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({}, "requires 'Credential' parameter. Authorization header requires 'Signature' parameter."),
        ({"Authorization": "Credential=a/b/c/d/e"}, "requires 'Signature' parameter."),
        ({"Authorization": "Credential=a/b, SignedHeaders=host, Signature=x"}, "5 slash-delimited elements"),
        ({"X-Amz-Date": "", "Authorization": "Credential=a/b/c/d/e, SignedHeaders=host, Signature=x"}, "'Date' header"),
    ],
)
def test_what_lacks_a_part_is_incomplete(headers: dict[str, str], told: str) -> None:
    given = {"Host": "localhost", "X-Amz-Date": "20150830T123600Z", **headers}
    given["Authorization"] = f"{ALGORITHM} {headers.get('Authorization', '')}"
    with pytest.raises(AwsApiError, match=told) as refused:
        signature_of(Request.from_primitives("GET", "http://localhost/", given), IAM)
    assert refused.value.code == "IncompleteSignature"
