"""Keys: real signatures, rotation, states, policies that keep their owner in."""

import hashlib
import json
from typing import Any

import pytest
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from twins.tests.support.aws import RunningTwin


@pytest.fixture
def kms(twin: RunningTwin) -> Any:
    """A client."""
    return twin.client("kms")


@pytest.fixture
def key(kms: Any) -> str:
    """A key's ARN."""
    return kms.create_key()["KeyMetadata"]["Arn"]


def test_key_says_what_it_is_for(kms: Any, key: str) -> None:
    shown = kms.describe_key(KeyId=key)["KeyMetadata"]
    assert (shown["KeyUsage"], shown["KeyState"], shown["MultiRegion"]) == ("ENCRYPT_DECRYPT", "Enabled", False)


def test_signature_of_a_digest_is_the_messages_own(kms: Any) -> None:
    """moto signs the digest's digest, which nobody else can check."""
    key = kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["Arn"]
    shared = {"KeyId": key, "SigningAlgorithm": "ECDSA_SHA_256"}
    digest = hashlib.sha256(b"manifest").digest()
    signature = kms.sign(**shared, Message=digest, MessageType="DIGEST")["Signature"]
    shown = kms.get_public_key(KeyId=key)
    public = serialization.load_der_public_key(shown["PublicKey"])
    assert isinstance(public, ec.EllipticCurvePublicKey)
    public.verify(signature, b"manifest", ec.ECDSA(hashes.SHA256()))
    assert shown["KeySpec"] == "ECC_NIST_P256"
    assert kms.verify(**shared, Message=b"manifest", MessageType="RAW", Signature=signature)["SignatureValid"]
    with pytest.raises(kms.exceptions.KMSInvalidSignatureException):
        kms.verify(**shared, Message=b"other", MessageType="RAW", Signature=signature)
    with pytest.raises(ClientError, match="Digest is invalid length"):
        kms.sign(**shared, Message=b"short", MessageType="DIGEST")
    with pytest.raises(ClientError, match="UnsupportedOperationException"):
        kms.enable_key_rotation(KeyId=key)


def test_rotation_keeps_its_period(kms: Any, key: str) -> None:
    kms.enable_key_rotation(KeyId=key, RotationPeriodInDays=180)
    shown = kms.get_key_rotation_status(KeyId=key)
    assert (shown["KeyRotationEnabled"], shown["RotationPeriodInDays"]) == (True, 180)
    kms.disable_key_rotation(KeyId=key)
    assert kms.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"] is False


def test_disabled_and_dying_keys_do_nothing(kms: Any, key: str) -> None:
    secret = kms.encrypt(KeyId=key, Plaintext=b"a")["CiphertextBlob"]
    kms.disable_key(KeyId=key)
    with pytest.raises(kms.exceptions.DisabledException, match="is disabled"):
        kms.encrypt(KeyId=key, Plaintext=b"a")
    with pytest.raises(kms.exceptions.DisabledException, match="is disabled"):
        kms.decrypt(CiphertextBlob=secret)
    kms.enable_key(KeyId=key)
    answer = kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
    assert (answer["KeyId"], answer["KeyState"]) == (key, "PendingDeletion")
    for call, arguments in (
        (kms.encrypt, {"Plaintext": b"a"}),
        (kms.schedule_key_deletion, {}),
        (kms.tag_resource, {"Tags": [{"TagKey": "a", "TagValue": "b"}]}),
    ):
        with pytest.raises(kms.exceptions.KMSInvalidStateException, match="is pending deletion"):
            call(KeyId=key, **arguments)
    kms.cancel_key_deletion(KeyId=key)
    assert kms.describe_key(KeyId=key)["KeyMetadata"]["KeyState"] == "Disabled"


@pytest.mark.parametrize(
    ("principal", "text"),
    [
        ({"AWS": "arn:aws:iam::000000000000:role/none"}, "invalid principals"),
        ({"Service": "sagemaker.amazonaws.com"}, "will not allow you to update the key policy in the future"),
    ],
)
def test_policy_that_locks_out_is_refused(kms: Any, principal: dict[str, str], text: str) -> None:
    statement = {"Effect": "Allow", "Principal": principal, "Action": "kms:*", "Resource": "*"}
    with pytest.raises(kms.exceptions.MalformedPolicyDocumentException, match=text):
        kms.create_key(Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))


def test_policy_needs_no_name(kms: Any, key: str) -> None:
    policy = kms.get_key_policy(KeyId=key)["Policy"]
    kms.put_key_policy(KeyId=key, Policy=policy)
    assert kms.get_key_policy(KeyId=key) | {"ResponseMetadata": None} == {
        "Policy": policy,
        "PolicyName": "default",
        "ResponseMetadata": None,
    }


def test_aliases_of_aws_are_reserved(kms: Any, key: str) -> None:
    with pytest.raises(ClientError, match="NotAuthorizedException"):
        kms.create_alias(AliasName="alias/aws/mine", TargetKeyId=key)
    assert kms.describe_key(KeyId="alias/aws/s3")["KeyMetadata"]["KeyManager"] == "AWS"


def test_a_signing_key_encrypts_nothing(kms: Any) -> None:
    """moto encrypts with any key; so a signing key by mistake in a bucket's place would pass."""
    key = kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["Arn"]
    for call, given in (
        (kms.encrypt, {"Plaintext": b"a"}),
        (kms.generate_data_key, {"KeySpec": "AES_256"}),
        (kms.generate_data_key_without_plaintext, {"KeySpec": "AES_256"}),
    ):
        with pytest.raises(
            kms.exceptions.InvalidKeyUsageException, match="key usage is SIGN_VERIFY which is not valid"
        ):
            call(KeyId=key, **given)
