"""AWS Price List: prices are AWS's to know, so a twin says that it has none."""

from typing import NoReturn

from twins.aws.twin import Twin
from twins.aws.wire.calls import ApiError, Call


def install(twin: Twin) -> None:
    """Refuse clearly."""
    for operation in ("GetProducts", "DescribeServices", "GetAttributeValues", "ListPriceLists", "GetPriceListFileUrl"):
        twin.implement("pricing", operation, _refuse)


def _refuse(call: Call) -> NoReturn:
    # the twin's own: AWS answers with its prices
    raise ApiError(
        "NotImplemented", "A twin of AWS has no prices: ask AWS's public price list, without AWS_ENDPOINT_URL."
    )
