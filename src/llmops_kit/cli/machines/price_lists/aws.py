"""Reads AWS's price list of a region.

https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/using-the-aws-price-list-bulk-api.html
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urljoin

from llmops_kit.cli.machines.price_lists import fetch
from llmops_kit.core.errors import KitError

PRICE_LIST = "https://pricing.us-east-1.amazonaws.com/offers/v1.0/aws/index.json"
_MACHINES = {"Hosting": "hosting", "Training": "training"}
# Offer -> (end of the usage type, part of the table, name in it).
_OTHERS = {
    "AmazonVPC": ("VpcEndpoint-Hours", "network", "vpc_endpoint_zone_hour"),
    "awskms": ("KMS-Keys", "keys", "kms_key_month"),
    "AmazonCloudWatch": ("CW:AlarmMonitorUsage", "alarms", "alarm_month"),
}


def prices_of(region: str, index: str = PRICE_LIST) -> dict[str, Any]:
    """Returns a region's part of the table.

    Args:
        region: such as eu-central-1.
        index: the price list's service index.

    Raises:
        KitError: the list can't be fetched or read, or contains nothing about this region.
    """
    offers = fetch(index).get("offers", {})
    parts: dict[str, Any] = {}
    for code in ("AmazonSageMaker", *_OTHERS):
        found = _regional_file(index, offers.get(code, {}), region)
        if found is not None:
            _add(parts, code, found)
    if "hosting" not in parts:
        raise KitError(
            f"the price list has no SageMaker hosting in {region}", where=index, fix="check the region's name"
        )
    return parts


def _regional_file(index: str, offer: Mapping[str, Any], region: str) -> dict[str, Any] | None:
    """Returns a service's price file of one region; None if it has none."""
    if not offer.get("currentRegionIndexUrl"):
        return None
    regions = fetch(urljoin(index, offer["currentRegionIndexUrl"])).get("regions", {})
    if region not in regions:
        return None
    return fetch(urljoin(index, regions[region]["currentVersionUrl"]))


def _add(parts: dict[str, Any], code: str, offer: Mapping[str, Any]) -> None:
    stamp = {"source": f"AWS price list, {code} {offer.get('version', '')}", "date": offer["publicationDate"][:10]}
    for product in offer.get("products", {}).values():
        attributes = product.get("attributes", {})
        usage = attributes.get("usagetype", "")
        if code == "AmazonSageMaker":
            part = _MACHINES.get(attributes.get("component", ""), "")
            name = attributes.get("instanceName", "")
            # Reserved and spot capacity have their own usage types.
            wanted = bool(part) and usage.endswith((f"Host:{name}", f"Train:{name}"))
        else:
            ending, part, name = _OTHERS[code]
            wanted = usage.endswith(ending)
        if wanted and (amount := _on_demand(offer, product["sku"])) is not None:
            parts.setdefault(part, {**stamp, "prices": {}})["prices"][name] = amount


def _on_demand(offer: Mapping[str, Any], sku: str) -> float | None:
    """Returns the price beyond free tiers and before volume discounts: the first that is not zero."""
    terms = offer.get("terms", {}).get("OnDemand", {}).get(sku, {}).values()
    dimensions = [d for term in terms for d in term["priceDimensions"].values()]
    ordered = sorted(dimensions, key=lambda d: float(d.get("beginRange") or 0))
    amounts = [float(d["pricePerUnit"]["USD"]) for d in ordered if "USD" in d["pricePerUnit"]]
    return next((a for a in amounts if a > 0), amounts[0] if amounts else None)
