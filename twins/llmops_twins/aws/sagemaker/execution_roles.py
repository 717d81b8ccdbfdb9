"""Checks of the roles that SageMaker works under.

https://github.com/awslabs/predictive-maintenance-using-machine-learning/issues/3
"""

from llmops_twins.aws.calls import AwsApiError
from llmops_twins.aws.identity.iam import trusts
from llmops_twins.aws.twin import AccountTwin

_PRINCIPAL = "sagemaker.amazonaws.com"


def require_role(twin: AccountTwin, role_arn: str) -> None:
    """Refuses a role that does not exist, does not work yet, or does not trust SageMaker.

    Raises:
        AwsApiError: with AWS's message, which makes the Pulumi plugin retry for two minutes.
    """
    if role_arn and not trusts(twin, role_arn, _PRINCIPAL):
        message = (
            f"Could not assume role {role_arn}. Please ensure that the role exists and allows principal "
            f"'{_PRINCIPAL}' to assume the role."
        )
        raise AwsApiError("ValidationException", message)
