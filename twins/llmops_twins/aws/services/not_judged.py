"""Operations of AWS that this twin refuses by name; moto would accept some of them."""

from typing import NoReturn

from llmops_twins.aws.calls import ApiCall, AwsApiError, not_judged
from llmops_twins.aws.twin import AccountTwin

_OPERATIONS = {
    "application-autoscaling": ("PutScheduledAction", "DeleteScheduledAction"),
    "cloudwatch": ("PutCompositeAlarm", "PutAnomalyDetector", "PutMetricStream"),
    "sts": ("AssumeRoleWithSAML",),  # the twin can't verify assertions, and moto would issue credentials of any role
}
_PRICES = ("GetProducts", "DescribeServices", "GetAttributeValues", "ListPriceLists", "GetPriceListFileUrl")


def install(twin: AccountTwin) -> None:
    """Registers the refusals."""
    for service, operations in _OPERATIONS.items():
        for operation in operations:
            twin.implement(service, operation, _refuse)
    for operation in _PRICES:
        twin.implement("pricing", operation, _refuse_prices)


def _refuse(call: ApiCall) -> NoReturn:
    # the twin's own: AWS answers
    raise not_judged(f"{call.service}:{call.operation}")


def _refuse_prices(call: ApiCall) -> NoReturn:
    # the twin's own: AWS answers with its prices
    raise AwsApiError(
        "NotImplemented", "A twin of AWS has no prices: ask AWS's public price list, without AWS_ENDPOINT_URL."
    )
