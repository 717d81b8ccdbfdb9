"""AWS Secrets Manager: a secret's name stays reserved until its deletion is complete; ARNs are complete."""

from typing import Any

from llmops_twins.aws.calls import ApiCall, AwsApiError
from llmops_twins.aws.service_documents import Document
from llmops_twins.aws.twin import AccountTwin

_SERVICE = "secretsmanager"
_RESERVED = "You can't create this secret because a secret with this name is already scheduled for deletion."


def install(twin: AccountTwin) -> None:
    """Corrects moto's secrets to match https://docs.aws.amazon.com/secretsmanager/latest/apireference/Welcome.html."""
    twin.before(_SERVICE, "CreateSecret", lambda call: _refuse_reserved(twin, call))
    for operation in ("ListSecretVersionIds", "DeleteSecret", "RestoreSecret"):
        twin.mend(_SERVICE, operation, lambda call, answer: _name_whole(twin, call, answer))


def _refuse_reserved(twin: AccountTwin, call: ApiCall) -> None:
    secret = _secrets(twin, call).get(call.parameters["Name"])
    if secret is not None and secret.deleted_date:
        raise AwsApiError("InvalidRequestException", _RESERVED)


def _name_whole(twin: AccountTwin, call: ApiCall, answer: Document) -> None:
    secret = _secrets(twin, call).get(call.parameters["SecretId"])
    if secret is not None:
        answer.update(ARN=secret.arn, Name=secret.name)
    if not answer.get("NextToken"):
        answer.pop("NextToken", None)


def _secrets(twin: AccountTwin, call: ApiCall) -> Any:
    from moto.secretsmanager.models import secretsmanager_backends

    return secretsmanager_backends[twin.account][call.region].secrets
