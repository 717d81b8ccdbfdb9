"""Empty responses for kinds of resources that a twin never has, for scanners that inspect a whole account.

Error codes are those that botocore's models declare; messages are from the services' references, mostly
https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html.
"""

from collections.abc import Mapping
from typing import Any

from llmops_twins.aws.calls import ApiCall, AwsApiError
from llmops_twins.aws.service_documents import Document
from llmops_twins.aws.twin import AccountTwin

_ANSWERS: Mapping[tuple[str, str], Document] = {
    ("accessanalyzer", "ListAnalyzers"): {"analyzers": []},
    ("application-autoscaling", "DescribeScheduledActions"): {"ScheduledActions": []},
    ("bedrock", "ListGuardrails"): {"guardrails": []},
    ("bedrock", "ListCustomModels"): {"modelSummaries": []},
    ("bedrock", "GetModelInvocationLoggingConfiguration"): {},
    ("cloudwatch", "DescribeAnomalyDetectors"): {"AnomalyDetectors": []},
    ("cloudwatch", "ListMetricStreams"): {"Entries": []},
    ("ec2", "DescribeClientVpnEndpoints"): {"ClientVpnEndpoints": []},
    ("ec2", "GetEbsDefaultKmsKeyId"): {"KmsKeyId": "alias/aws/ebs"},
    ("ec2", "GetImageBlockPublicAccessState"): {"ImageBlockPublicAccessState": "unblocked"},
    ("ec2", "GetInstanceMetadataDefaults"): {"AccountLevel": {}},
    ("ec2", "GetSerialConsoleAccessStatus"): {"SerialConsoleAccessEnabled": False},
    ("ec2", "GetSnapshotBlockPublicAccessState"): {"State": "unblocked"},
    ("iam", "ListOrganizationsFeatures"): {"EnabledFeatures": []},
    ("securityhub", "GetEnabledStandards"): {"StandardsSubscriptions": []},
}
_ERRORS: Mapping[tuple[str, str], tuple[str, str, int]] = {
    ("account", "GetContactInformation"): ("ResourceNotFoundException", "No contact information was found.", 404),
    ("account", "GetAlternateContact"): ("ResourceNotFoundException", "No contact of that type was found.", 404),
}


def install(twin: AccountTwin) -> None:
    """Registers the responses of an account without any such resource."""
    for (service, operation), answer in _ANSWERS.items():
        twin.implement(service, operation, lambda call, answer=answer: dict(answer))
    for (service, operation), error in _ERRORS.items():
        twin.implement(service, operation, lambda call, error=error: _refuse(call, *error))


def _refuse(call: ApiCall, code: str, text: str, status: int) -> Any:
    raise AwsApiError(code, text, status)
