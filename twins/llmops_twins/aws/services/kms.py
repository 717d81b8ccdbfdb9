"""AWS KMS: key states, rotation periods, real signatures, and key policies that may not lock their owner out."""

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, utils

from llmops_kit.core.twins import TWIN_ACCOUNT
from llmops_twins.aws.calls import ApiCall, AwsApiError
from llmops_twins.aws.identity import policies
from llmops_twins.aws.service_documents import Document, shelf
from llmops_twins.aws.twin import AccountTwin

_HASHES: dict[str, type[hashes.SHA256 | hashes.SHA384 | hashes.SHA512]] = {
    "SHA_256": hashes.SHA256,
    "SHA_384": hashes.SHA384,
    "SHA_512": hashes.SHA512,
}
_USES = (
    *("Encrypt", "Decrypt", "ReEncrypt", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext"),
    *("Sign", "Verify", "GenerateMac", "VerifyMac", "CreateGrant"),
)
_CHANGES = (
    *("EnableKey", "DisableKey", "EnableKeyRotation", "DisableKeyRotation", "PutKeyPolicy", "TagResource"),
    *("UntagResource", "UpdateKeyDescription", "ScheduleKeyDeletion", "GetKeyRotationStatus"),
)
_ID_LENGTH = 36
_DEFAULT_ROTATION_DAYS = 365


def install(twin: AccountTwin) -> None:
    """Corrects moto's KMS to match https://docs.aws.amazon.com/kms/latest/APIReference/Welcome.html."""
    kms = _Kms(twin)
    for operation in _USES:
        twin.before("kms", operation, kms.refuse_unusable)
    for operation in ("Encrypt", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext"):
        twin.before("kms", operation, _refuse_other_usage)
    for operation in _CHANGES:
        twin.before("kms", operation, kms.refuse_pending_deletion)
    twin.before("kms", "CreateKey", kms.refuse_bad_key)
    twin.before("kms", "PutKeyPolicy", kms.refuse_bad_policy)
    twin.before("kms", "CreateAlias", kms.refuse_bad_alias)
    for operation in ("EnableKeyRotation", "DisableKeyRotation"):
        twin.before("kms", operation, kms.refuse_asymmetric)
    twin.mend("kms", "CreateKey", kms.complete)
    twin.mend("kms", "DescribeKey", kms.describe)
    twin.implement("kms", "ScheduleKeyDeletion", kms.schedule_deletion)
    twin.implement("kms", "CancelKeyDeletion", kms.cancel_deletion)
    twin.after("kms", "EnableKeyRotation", kms.keep_period)
    twin.implement("kms", "GetKeyRotationStatus", kms.rotation_status)
    twin.implement("kms", "GetKeyPolicy", kms.policy)
    twin.implement("kms", "PutKeyPolicy", kms.put_policy)
    twin.implement("kms", "EnableKey", lambda call: kms.switch(call, True))
    twin.implement("kms", "DisableKey", lambda call: kms.switch(call, False))
    twin.implement("kms", "GetPublicKey", kms.public_key)
    twin.implement("kms", "Sign", kms.sign)
    twin.implement("kms", "Verify", kms.verify)


def key_state(twin: AccountTwin, arn: str) -> str | None:
    """Returns the state of a key by its ARN; None if it does not exist."""
    try:
        return _key(ApiCall("kms", "DescribeKey", {"KeyId": arn}, "", arn.split(":")[3], "")).key_state
    except AwsApiError:
        return None


def trusts(twin: AccountTwin, arn: str, service: str, action: str) -> bool:
    """Returns whether a key's policy lets an AWS service perform an action. The judge evaluates conditions."""
    key = _key(ApiCall("kms", "DescribeKey", {"KeyId": arn}, "", arn.split(":")[3], ""))
    return any(
        policies.allows(statement, action) and service in policies.principals(statement, "Service")
        for statement in policies.statements(key.policy)
    )


class _Kms:
    def __init__(self, twin: AccountTwin) -> None:
        self._twin = twin

    def refuse_unusable(self, call: ApiCall) -> None:
        if "KeyId" in call.parameters:
            key = _key(call)
        else:  # Decrypt and ReEncrypt: moto's ciphertext begins with the key's id
            name = call.parameters.get("CiphertextBlob", b"")[:_ID_LENGTH].decode("ascii", "replace")
            try:
                key = _key(ApiCall(call.service, call.operation, {"KeyId": name}, "", call.region, ""))
            except AwsApiError:  # moto refuses it with its own error
                return
        if key.key_state == "Disabled":
            raise AwsApiError("DisabledException", f"{key.arn} is disabled.")
        if key.key_state != "Enabled":
            raise AwsApiError("KMSInvalidStateException", f"{key.arn} is pending deletion.")

    def refuse_pending_deletion(self, call: ApiCall) -> None:
        key = _key(call)
        if key.key_state == "PendingDeletion":
            raise AwsApiError("KMSInvalidStateException", f"{key.arn} is pending deletion.")

    def refuse_asymmetric(self, call: ApiCall) -> None:
        if _key(call).key_spec != "SYMMETRIC_DEFAULT":
            raise AwsApiError(
                "UnsupportedOperationException", "You cannot perform this operation on an asymmetric key."
            )

    def refuse_bad_key(self, call: ApiCall) -> None:
        spec = call.parameters.get("KeySpec") or call.parameters.get("CustomerMasterKeySpec") or "SYMMETRIC_DEFAULT"
        usage = call.parameters.get("KeyUsage", "ENCRYPT_DECRYPT")
        signs = spec.startswith(("ECC_", "RSA_"))
        if (usage == "SIGN_VERIFY" and not signs) or (usage == "ENCRYPT_DECRYPT" and spec.startswith("ECC_")):
            raise AwsApiError("ValidationException", f"KeyUsage {usage} is not compatible with KeySpec {spec}")
        if "Policy" in call.parameters:
            self.refuse_bad_policy(call)

    def refuse_bad_policy(self, call: ApiCall) -> None:
        try:
            found = policies.resource_statements(call.parameters["Policy"])
        except ValueError as e:
            raise AwsApiError("MalformedPolicyDocumentException", "The new key policy is not valid.") from e
        if any(policies.missing_principals(self._twin, found)):
            text = "Policy contains a statement with one or more invalid principals."
            raise AwsApiError("MalformedPolicyDocumentException", text)
        if not call.parameters.get("BypassPolicyLockoutSafetyCheck") and not self._keeps_control(call, found):
            text = "The new key policy will not allow you to update the key policy in the future."
            raise AwsApiError("MalformedPolicyDocumentException", text)

    def _keeps_control(self, call: ApiCall, found: list[policies.Statement]) -> bool:
        account = self._twin.account
        holders = {"*", account, f"arn:aws:iam::{account}:root", call.principal, _role_of_session(call.principal)}
        return any(
            policies.allows(statement, "kms:PutKeyPolicy") and holders & set(policies.principals(statement, "AWS"))
            for statement in found
        )

    def refuse_bad_alias(self, call: ApiCall) -> None:
        name = call.parameters["AliasName"]
        if name.startswith("alias/aws/"):
            # unsure (60 %): that the prefix is reserved is documented; no source found for code and words
            raise AwsApiError("NotAuthorizedException", "", 400)
        key = _key(call, "TargetKeyId")
        if key.key_state == "PendingDeletion":
            raise AwsApiError("KMSInvalidStateException", f"{key.arn} is pending deletion.")

    def complete(self, call: ApiCall, answer: Document) -> None:
        key = _key(ApiCall("kms", "", {"KeyId": answer["KeyMetadata"]["KeyId"]}, "", call.region, ""))
        key.key_usage = key.key_usage or "ENCRYPT_DECRYPT"
        key.multi_region = bool(key.multi_region)
        answer["KeyMetadata"] = _metadata(key)

    def describe(self, call: ApiCall, answer: Document) -> None:
        key = _key(call)
        if _is_default(key):
            key.key_manager = "AWS"
        answer["KeyMetadata"] = _metadata(key)

    def schedule_deletion(self, call: ApiCall) -> Document:
        key = _key(call)
        days = call.parameters.get("PendingWindowInDays", 30)
        if not 7 <= days <= 30:
            raise AwsApiError("ValidationException", "PendingWindowInDays must be between 7 and 30 days.")
        key.enabled, key.key_state = False, "PendingDeletion"
        key.deletion_date = datetime.now(UTC).replace(tzinfo=None) + timedelta(days=days)
        state = {"KeyState": key.key_state, "PendingWindowInDays": days}
        return {"KeyId": key.arn, "DeletionDate": key.deletion_date, **state}

    def cancel_deletion(self, call: ApiCall) -> Document:
        key = _key(call)
        if key.key_state != "PendingDeletion":
            raise AwsApiError("KMSInvalidStateException", f"{key.arn} is not pending deletion.")
        key.enabled, key.key_state, key.deletion_date = False, "Disabled", None
        return {"KeyId": key.arn}

    def keep_period(self, call: ApiCall, _answer: Document) -> None:
        days = call.parameters.get("RotationPeriodInDays", _DEFAULT_ROTATION_DAYS)
        shelf(self._twin, "kms", "rotation", call.region)[_key(call).id] = {"days": days}

    def rotation_status(self, call: ApiCall) -> Document:
        key = _key(call)
        if not key.key_rotation_status:
            return {"KeyRotationEnabled": False, "KeyId": key.arn}
        kept = shelf(self._twin, "kms", "rotation", call.region).get(key.id, {})
        days = kept.get("days", _DEFAULT_ROTATION_DAYS)
        return {
            "KeyRotationEnabled": True,
            "KeyId": key.arn,
            "RotationPeriodInDays": days,
            "NextRotationDate": key.creation_date + days * 86400,
        }

    def policy(self, call: ApiCall) -> Document:
        key = _key(call)
        if call.parameters.get("PolicyName", "default") != "default":
            raise AwsApiError("NotFoundException", "No such policy exists")
        return {"Policy": key.policy, "PolicyName": "default"}

    def put_policy(self, call: ApiCall) -> None:
        if call.parameters.get("PolicyName", "default") != "default":
            raise AwsApiError("NotFoundException", "No such policy exists")
        _key(call).policy = call.parameters["Policy"]

    def switch(self, call: ApiCall, enabled: bool) -> None:
        key = _key(call)
        key.enabled, key.key_state = enabled, "Enabled" if enabled else "Disabled"

    def public_key(self, call: ApiCall) -> Document:
        key = _key(call)
        if key.key_spec == "SYMMETRIC_DEFAULT":
            raise AwsApiError("UnsupportedOperationException", f"{key.arn} is not an asymmetric key.")
        metadata = _metadata(key)
        kept = ("CustomerMasterKeySpec", "KeySpec", "KeyUsage", "EncryptionAlgorithms", "SigningAlgorithms")
        answer = {name: metadata[name] for name in kept if metadata.get(name)}
        return {"KeyId": key.arn, "PublicKey": key.private_key.public_key(), **answer}

    def sign(self, call: ApiCall) -> Document:
        key = _signing_key(call)
        algorithm = call.parameters["SigningAlgorithm"]
        private, digest = key.private_key.private_key, _digest(call)
        if isinstance(private, ec.EllipticCurvePrivateKey):
            signature = private.sign(digest, ec.ECDSA(_prehashed(algorithm)))
        else:
            signature = private.sign(digest, _padding(algorithm), _prehashed(algorithm))
        return {"KeyId": key.arn, "Signature": signature, "SigningAlgorithm": algorithm}

    def verify(self, call: ApiCall) -> Document:
        key = _signing_key(call)
        algorithm, signature = call.parameters["SigningAlgorithm"], call.parameters["Signature"]
        public: Any = serialization.load_der_public_key(key.private_key.public_key())
        try:
            if isinstance(public, ec.EllipticCurvePublicKey):
                public.verify(signature, _digest(call), ec.ECDSA(_prehashed(algorithm)))
            else:
                public.verify(signature, _digest(call), _padding(algorithm), _prehashed(algorithm))
        except InvalidSignature as e:
            raise AwsApiError("KMSInvalidSignatureException", "") from e
        return {"KeyId": key.arn, "SignatureValid": True, "SigningAlgorithm": algorithm}


def _key(call: ApiCall, member: str = "KeyId") -> Any:
    """Returns moto's key that a call names by id, ARN, alias or an alias's ARN."""
    from moto.kms.models import kms_backends

    name = call.parameters[member]
    region = name.split(":")[3] if name.startswith("arn:") else call.region
    backend = kms_backends[TWIN_ACCOUNT][region]
    own = f"arn:aws:kms:{region}:{TWIN_ACCOUNT}:"
    short = name.removeprefix(own)
    if short.startswith("alias/"):
        found = backend.get_key_id_from_alias(short)
        if found is None:
            raise AwsApiError("NotFoundException", f"Alias {own}{short} is not found.")
        return backend.keys[found]
    key = backend.keys.get(short.removeprefix("key/"))
    if key is None:
        raise AwsApiError("NotFoundException", f"Key '{own}key/{short.removeprefix('key/')}' does not exist")
    return key


def _refuse_other_usage(call: ApiCall) -> None:
    """Refuses to encrypt with a key of another usage: API_Encrypt, "the KeyUsage of the KMS key must be
    ENCRYPT_DECRYPT", otherwise InvalidKeyUsageException.
    """
    key = _key(call)
    if (key.key_usage or "ENCRYPT_DECRYPT") != "ENCRYPT_DECRYPT":
        text = f"{key.arn} key usage is {key.key_usage} which is not valid for {call.operation}."
        raise AwsApiError("InvalidKeyUsageException", text)


def _signing_key(call: ApiCall) -> Any:
    key = _key(call)
    if key.key_usage != "SIGN_VERIFY":
        text = f"{key.arn} key usage is {key.key_usage} which is not valid for {call.operation}."
        raise AwsApiError("InvalidKeyUsageException", text)
    algorithm = call.parameters["SigningAlgorithm"]
    if algorithm not in key.signing_algorithms:
        text = f"Algorithm {algorithm} is incompatible with key spec {key.key_spec}."
        raise AwsApiError("InvalidKeyUsageException", text)
    return key


def _digest(call: ApiCall) -> bytes:
    message, algorithm = call.parameters["Message"], _prehashed(call.parameters["SigningAlgorithm"])
    if call.parameters.get("MessageType", "RAW") == "RAW":
        name = call.parameters["SigningAlgorithm"][-7:].replace("_", "").lower()
        return hashlib.new(name, message).digest()
    if len(message) != algorithm.digest_size:
        text = f"Digest is invalid length for algorithm {call.parameters['SigningAlgorithm']}."
        raise AwsApiError("ValidationException", text)
    return message


def _prehashed(algorithm: str) -> utils.Prehashed:
    return utils.Prehashed(_HASHES[algorithm[-7:]]())


def _padding(algorithm: str) -> padding.PSS | padding.PKCS1v15:
    if "PSS" not in algorithm:
        return padding.PKCS1v15()
    chosen = _HASHES[algorithm[-7:]]()
    return padding.PSS(padding.MGF1(chosen), chosen.digest_size)


def _metadata(key: Any) -> Document:
    return {name: value for name, value in key.to_dict()["KeyMetadata"].items() if value not in (None, [])}


def _is_default(key: Any) -> bool:
    return any(name.startswith("alias/aws/") for name in key.aliases)


def _role_of_session(principal: str) -> str:
    """Returns the role's ARN of an assumed role's session; empty for other principals."""
    if ":assumed-role/" not in principal:
        return ""
    account, name = principal.split(":")[4], principal.split("/")[1]
    return f"arn:aws:iam::{account}:role/{name}"
