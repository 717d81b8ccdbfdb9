"""The hourly cost of a stack, line by line, each with its source; and the cost of a million tokens."""

from collections.abc import Sequence
from dataclasses import dataclass

from llmops_kit.cli.interfaces.endpoint_plans import EndpointPlan
from llmops_kit.cli.machines.prices import Price, Prices

_HOURS_A_MONTH = 730
_UNKNOWN = "unknown: `llmops plan prices refresh` fetches it"


@dataclass(frozen=True)
class CostLine:
    """Dollars per hour, idle and busy; None if the price is unknown."""

    what: str
    idle: float | None
    busy: float | None
    source: str


@dataclass(frozen=True)
class TokenCost:
    """Dollars per million tokens of an endpoint that is always busy; None if unknown, with the reason."""

    endpoint: str
    usd: float | None
    basis: str


def endpoint_costs(endpoints: Sequence[EndpointPlan], prices: Prices) -> list[CostLine]:
    """Returns the cost of each endpoint's instances while they exist."""
    return [_endpoint(e, prices.instance("hosting", e.instance_type)) for e in endpoints]


def token_costs(endpoints: Sequence[EndpointPlan], prices: Prices, tokens_per_second: float) -> list[TokenCost]:
    """Returns the cost of a million generated tokens of each endpoint, from the measured throughput of one instance."""
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


@dataclass(frozen=True)
class Total:
    """Dollars per hour of a stack. `usd` is a lower bound if `unknown` names some lines, and None if it names all."""

    usd: float | None
    unknown: list[str]


def total(lines: Sequence[CostLine], busy: bool) -> Total:
    """Sums the known prices. Unknown ones don't count as free: without any known price there is no sum."""
    amounts = [(line.what, line.busy if busy else line.idle) for line in lines]
    known = [amount for _, amount in amounts if amount is not None]
    return Total(sum(known) if known or not lines else None, [what for what, amount in amounts if amount is None])


def hourly_line(what: str, count: float, price: Price | None) -> CostLine:
    """Returns the line for a number, possibly fractional, of something priced by the hour."""
    if price is None:
        return CostLine(what, None, None, _UNKNOWN)
    return CostLine(what, count * price.amount, count * price.amount, _source(price))


def monthly_line(what: str, count: int, price: Price | None) -> CostLine:
    """Returns the line for a number of something priced by the month."""
    if price is None:
        return CostLine(what, None, None, _UNKNOWN)
    hourly = count * price.amount / _HOURS_A_MONTH
    return CostLine(what, hourly, hourly, _source(price))


def _endpoint(endpoint: EndpointPlan, price: Price | None) -> CostLine:
    least, most = endpoint.least_instances, endpoint.most_instances
    count = str(least) if least == most else f"{least} to {most}"
    what = f"endpoint {endpoint.name}: {count} x {endpoint.instance_type}"
    if price is None:
        return CostLine(what, None, None, _UNKNOWN)
    return CostLine(what, least * price.amount, most * price.amount, _source(price))


def _source(price: Price) -> str:
    return f"{price.source}, {price.date}"
