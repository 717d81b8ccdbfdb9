"""What a stack costs an hour, line by line, each with its source; and a million tokens."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from llmops.plan.changes import Resource, known, of_type
from llmops.plan.endpoints import EndpointPlan
from llmops.prices import Price, Prices

_HOURS_A_MONTH = 730
_MONTHLY = {
    "aws:kms/key:Key": ("KMS keys", "kms_key_month"),
    "aws:cloudwatch/metricAlarm:MetricAlarm": ("alarms", "alarm_month"),
}
_UNPRICED = {
    "aws:s3/bucket:Bucket": "what the buckets hold, and requests",
    "aws:ecr/repository:Repository": "what the registry holds",
    "aws:cloudwatch/logGroup:LogGroup": "log lines",
}


@dataclass(frozen=True)
class CostLine:
    """Dollars an hour, idle and busy; None: the price is not known."""

    what: str
    idle: float | None
    busy: float | None
    source: str


@dataclass(frozen=True)
class TokenCost:
    """Dollars for a million tokens of an endpoint that is busy all the time; None: not known, and why."""

    endpoint: str
    usd: float | None
    basis: str


def cost_lines(resources: Sequence[Resource], endpoints: Sequence[EndpointPlan], prices: Prices) -> list[CostLine]:
    """Everything of a stack that costs while it stands."""
    lines = [_endpoint(e, prices.instance("hosting", e.instance_type)) for e in endpoints]
    lines += _vpc_endpoints(resources, prices.other("vpc_endpoint_zone_hour"))
    for type_, (words, name) in _MONTHLY.items():
        if count := len(of_type(resources, type_)):
            lines.append(_monthly(f"{count} {words}", count, prices.other(name)))
    for type_, words in _UNPRICED.items():
        if of_type(resources, type_):
            lines.append(CostLine(words, None, None, "by use"))
    return lines


def token_costs(endpoints: Sequence[EndpointPlan], prices: Prices, tokens_per_second: float) -> list[TokenCost]:
    """A million generated tokens of each endpoint, from the measured throughput of one instance."""
    found = []
    for endpoint in endpoints:
        price = prices.instance("hosting", endpoint.instance_type)
        if not tokens_per_second:
            basis = "throughput unknown: measure it on this instance type, then --tokens-per-second N"
            found.append(TokenCost(endpoint.name, None, basis))
        elif price is None:
            found.append(TokenCost(endpoint.name, None, f"price of {endpoint.instance_type} unknown"))
        else:
            usd = price.amount / (tokens_per_second * 3600) * 1e6
            found.append(TokenCost(endpoint.name, usd, f"{tokens_per_second:g} tokens/s an instance, as given"))
    return found


def total(lines: Sequence[CostLine], busy: bool) -> tuple[float, list[str]]:
    """The sum of what is known, and the lines that it lacks."""
    amounts = [(line.what, line.busy if busy else line.idle) for line in lines]
    return sum(a for _, a in amounts if a is not None), [what for what, a in amounts if a is None]


def _endpoint(endpoint: EndpointPlan, price: Price | None) -> CostLine:
    least, most = endpoint.least_instances, endpoint.most_instances
    count = str(least) if least == most else f"{least} to {most}"
    what = f"endpoint {endpoint.name}: {count} x {endpoint.instance_type}"
    if price is None:
        return CostLine(what, None, None, "unknown: `llmops prices refresh` fetches it")
    return CostLine(what, least * price.amount, most * price.amount, _source(price))


def _vpc_endpoints(resources: Sequence[Resource], price: Price | None) -> Iterator[CostLine]:
    zones = [
        len(known(r.inputs.get("subnetIds"), []) or [])
        for r in of_type(resources, "aws:ec2/vpcEndpoint:VpcEndpoint")
        if r.inputs.get("vpcEndpointType") == "Interface"
    ]
    if not zones:
        return
    what = f"{len(zones)} interface VPC endpoints x {max(zones)} zones"
    if price is None:
        yield CostLine(what, None, None, "unknown: `llmops prices refresh` fetches it")
    else:
        hourly = sum(zones) * price.amount
        yield CostLine(what, hourly, hourly, _source(price))


def _monthly(what: str, count: int, price: Price | None) -> CostLine:
    if price is None:
        return CostLine(what, None, None, "unknown: `llmops prices refresh` fetches it")
    hourly = count * price.amount / _HOURS_A_MONTH
    return CostLine(what, hourly, hourly, _source(price))


def _source(price: Price) -> str:
    return f"{price.source}, {price.date}"
