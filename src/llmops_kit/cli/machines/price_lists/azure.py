"""Reads Azure's retail prices of a region. A machine of Azure Machine Learning has the price of its virtual machine.

https://learn.microsoft.com/rest/api/cost-management/retail-prices/azure-retail-prices
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from llmops_kit.cli.machines.price_lists import fetch
from llmops_kit.core.errors import KitError

PRICE_LIST = "https://prices.azure.com/api/retail/prices"
_EVERYWHERE = "Global"  # the region of prices that are the same everywhere
_LOW_PRIORITY = " Low Priority"
_NOT_LINUX = ("Windows", "CloudServices", "Cloud Services", "Dedicated Host")
Item = dict[str, Any]


class _Meter(NamedTuple):
    service: str
    product: str  # empty: any product of the service
    meter: str  # the end of its name, which some services precede by their tier
    part: str
    name: str


_METERS = (
    _Meter("Azure Monitor", "", "Alerts System Log Monitored at 5 Minute Frequency", "alerts", "query_alert_month"),
    _Meter("Azure Monitor", "", "Alerts Metric Monitored", "alerts", "metric_alert_month"),
    _Meter("Container Registry", "Container Registry", "Basic Registry Unit", "registry", "registry_basic_day"),
    _Meter("Container Registry", "Container Registry", "Premium Registry Unit", "registry", "registry_premium_day"),
    _Meter(
        "Virtual Network",
        "Virtual Network Private Link",
        "Private Endpoint",
        "network",
        "private_endpoint_hour",
    ),
)


def prices_of(region: str, address: str = PRICE_LIST) -> dict[str, Any]:
    """Returns a region's part of the table.

    Args:
        region: such as westeurope.
        address: the price list's address.

    Raises:
        KitError: the list can't be fetched or read, or contains nothing about this region.
    """
    parts: dict[str, Any] = {}
    for item in _items(address, serviceName="Virtual Machines", armRegionName=region):
        _add_machine(parts, item)
    if "hosting" not in parts:
        raise KitError(
            f"the price list has no virtual machines in {region}", where=address, fix="check the region's name"
        )
    for service in dict.fromkeys(meter.service for meter in _METERS):
        meters = [meter for meter in _METERS if meter.service == service]
        product = {"productName": meters[0].product} if meters[0].product else {}
        found = [
            item
            for place in (region, _EVERYWHERE)
            for item in _items(address, serviceName=service, **product, armRegionName=place)
        ]
        for meter in meters:
            _add_meter(parts, meter, found)
    return parts


def _items(address: str, **equal: str) -> Iterator[Item]:
    """Yields the pay-as-you-go prices of all pages; the list's filter is case-sensitive."""
    terms = " and ".join(f"{name} eq '{value}'" for name, value in {**equal, "priceType": "Consumption"}.items())
    page = fetch(f"{address}?{urlencode({'$filter': terms}, quote_via=quote)}")
    while True:
        try:
            yield from (item for item in page["Items"] if _counts(item))
        except (KeyError, TypeError, ValueError) as e:
            raise KitError(f"the price list has an unexpected format: {e!r}", where=address) from e
        if not page.get("NextPageLink"):
            return
        page = fetch(page["NextPageLink"])


def _counts(item: Item) -> bool:
    return item["type"] == "Consumption" and item["currencyCode"] == "USD" and item.get("isPrimaryMeterRegion", True)


def _add_machine(parts: dict[str, Any], item: Item) -> None:
    name, sku = str(item.get("armSkuName") or ""), str(item["skuName"])
    if item["unitOfMeasure"] != "1 Hour" or not name.startswith("Standard_") or sku.endswith(" Spot"):
        return  # spot machines have other prices than the low-priority ones of Azure Machine Learning
    if any(word in item["productName"] for word in _NOT_LINUX):
        return
    for part in ("spot",) if sku.endswith(_LOW_PRIORITY) else ("hosting", "training"):
        _table(parts, part, "Virtual Machines")[name] = float(item["retailPrice"])


def _add_meter(parts: dict[str, Any], meter: _Meter, items: list[Item]) -> None:
    """Adds the price beyond free tiers and before volume discounts; prefers the region's own to the global one."""
    fitting = [item for item in items if item["meterName"].endswith(meter.meter) and float(item["retailPrice"]) > 0]
    for place in dict.fromkeys(item["armRegionName"] for item in fitting):
        tiers = [item for item in fitting if item["armRegionName"] == place]
        first = min(tiers, key=lambda item: float(item.get("tierMinimumUnits") or 0))
        _table(parts, meter.part, meter.service)[meter.name] = float(first["retailPrice"])
        return


def _table(parts: dict[str, Any], part: str, service: str) -> dict[str, float]:
    stamp = {"source": f"Azure retail prices, {service}", "date": f"{datetime.now(UTC):%Y-%m-%d}"}
    return parts.setdefault(part, {**stamp, "prices": {}})["prices"]
