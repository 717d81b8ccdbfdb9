"""Prices of AWS: a dated table, each part with its source; renewed from AWS's public price list.

The table of the kit is prices.json beside this file. `llmops prices refresh` writes another one into this machine's
cache, which is used instead for the regions that it has.
https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/using-the-aws-price-list-bulk-api.html
"""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from contract.errors import KitError
from contract.layout import cache_dir

SCHEMA = "prices/1"
PRICE_LIST = "https://pricing.us-east-1.amazonaws.com/offers/v1.0/aws/index.json"
_TABLE = Path(__file__).with_name("prices.json")
_TIMEOUT_SECONDS = 120
_MACHINES = {"Hosting": "hosting", "Training": "training"}
# Offer -> (end of the usage type, part of the table, name in it).
_OTHERS = {
    "AmazonVPC": ("VpcEndpoint-Hours", "network", "vpc_endpoint_zone_hour"),
    "awskms": ("KMS-Keys", "keys", "kms_key_month"),
    "AmazonCloudWatch": ("CW:AlarmMonitorUsage", "alarms", "alarm_month"),
}


@dataclass(frozen=True)
class Price:
    """An amount in dollars, and where it comes from."""

    amount: float
    source: str
    date: str


class Prices:
    """Prices of one region. What is not in the table is not known: None, never a guess."""

    def __init__(self, region: str, document: Mapping[str, Any]) -> None:
        self.region = region
        self._parts: Mapping[str, Any] = document.get("regions", {}).get(region, {})

    def instance(self, kind: str, instance_type: str) -> Price | None:
        """An hour of an instance; `kind` is hosting or training."""
        return self._find(kind, instance_type)

    def other(self, name: str) -> Price | None:
        """vpc_endpoint_zone_hour, kms_key_month or alarm_month."""
        return next((p for part in self._parts if (p := self._find(part, name))), None)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Everything that is known of the region."""
        for part, table in self._parts.items():
            for name, amount in table["prices"].items():
                per = "hour" if part in _MACHINES.values() else name.rpartition("_")[2]
                yield {"kind": part, "name": name, "usd": amount, "per": per, "date": table["date"]}

    @property
    def sources(self) -> list[str]:
        """Part, source and date, a line each."""
        return [f"{part}: {table['source']}, {table['date']}" for part, table in self._parts.items()]

    def _find(self, part: str, name: str) -> Price | None:
        table = self._parts.get(part)
        if not table or name not in table["prices"]:
            return None
        return Price(float(table["prices"][name]), table["source"], table["date"])


def load_prices(region: str) -> Prices:
    """The prices of a region: refreshed ones of this machine, else the kit's table."""
    document = _read(_TABLE)
    refreshed = _read(refreshed_file())
    regions = {**document.get("regions", {}), **refreshed.get("regions", {})}
    return Prices(region, {"regions": regions})


def known_regions() -> list[str]:
    """Regions of which any price is known."""
    return sorted({*_read(_TABLE).get("regions", {}), *_read(refreshed_file()).get("regions", {})})


def refreshed_file() -> Path:
    """Where `refresh` writes."""
    return cache_dir() / "prices.json"


def refresh(region: str, file: Path | None = None, index: str = PRICE_LIST) -> Prices:
    """Fetch a region's prices from AWS's price list and keep them.

    Args:
        region: such as eu-central-1.
        file: the table to write into; None: this machine's.
        index: the price list's service index.

    Raises:
        KitError: the list can't be fetched or read, or has nothing of this region.
    """
    offers = _fetch(index).get("offers", {})
    parts: dict[str, Any] = {}
    for code in ("AmazonSageMaker", *_OTHERS):
        found = _regional_file(index, offers.get(code, {}), region)
        if found is not None:
            _add(parts, code, found)
    if "hosting" not in parts:
        raise KitError(f"the price list has no SageMaker hosting in {region}", where=index, fix="see the region's name")
    target = file or refreshed_file()
    document = _read(target) or {"schema": SCHEMA, "currency": "USD", "regions": {}}
    document["regions"] = {**document.get("regions", {}), region: parts}
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.tmp")
    temporary.write_text(json.dumps(document, indent=1) + "\n")
    temporary.replace(target)
    return Prices(region, document)


def _regional_file(index: str, offer: Mapping[str, Any], region: str) -> dict[str, Any] | None:
    """A service's price file of one region; None where it has none."""
    if not offer.get("currentRegionIndexUrl"):
        return None
    regions = _fetch(urljoin(index, offer["currentRegionIndexUrl"])).get("regions", {})
    if region not in regions:
        return None
    return _fetch(urljoin(index, regions[region]["currentVersionUrl"]))


def _add(parts: dict[str, Any], code: str, offer: Mapping[str, Any]) -> None:
    stamp = {"source": f"AWS price list, {code} {offer.get('version', '')}", "date": offer["publicationDate"][:10]}
    for product in offer.get("products", {}).values():
        attributes = product.get("attributes", {})
        usage = attributes.get("usagetype", "")
        if code == "AmazonSageMaker":
            part = _MACHINES.get(attributes.get("component", ""), "")
            name = attributes.get("instanceName", "")
            # Reserved and spot capacity have usage types of their own.
            wanted = bool(part) and usage.endswith((f"Host:{name}", f"Train:{name}"))
        else:
            ending, part, name = _OTHERS[code]
            wanted = usage.endswith(ending)
        if wanted and (amount := _on_demand(offer, product["sku"])) is not None:
            parts.setdefault(part, {**stamp, "prices": {}})["prices"][name] = amount


def _on_demand(offer: Mapping[str, Any], sku: str) -> float | None:
    """The price beyond free tiers and before discounts of quantity: the first that is not zero."""
    terms = offer.get("terms", {}).get("OnDemand", {}).get(sku, {}).values()
    dimensions = [d for term in terms for d in term["priceDimensions"].values()]
    ordered = sorted(dimensions, key=lambda d: float(d.get("beginRange") or 0))
    amounts = [float(d["pricePerUnit"]["USD"]) for d in ordered if "USD" in d["pricePerUnit"]]
    return next((a for a in amounts if a > 0), amounts[0] if amounts else None)


def _fetch(url: str) -> dict[str, Any]:
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as answer:
            return json.load(answer)
    except (urllib.error.URLError, TimeoutError) as e:
        raise KitError(
            f"the price list can't be fetched: {getattr(e, 'reason', e)}",
            where=url,
            fix="see that this machine reaches AWS; `llmops prices show` shows the table that the kit has",
        ) from e
    except ValueError as e:
        raise KitError(f"the price list is not JSON: {e}", where=url) from e


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as e:
        raise KitError(f"can't be read: {e}", where=str(path), fix="delete it; `llmops prices refresh` makes it") from e
