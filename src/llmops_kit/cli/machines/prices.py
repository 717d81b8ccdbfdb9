"""Prices of the clouds: a dated table, each part with its source, refreshed from each cloud's public price list.

The table of the kit is prices.json beside this file. `llmops plan prices refresh` writes another one into this
machine's cache, which is used instead for the regions that it has.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmops_kit.cli.machines.price_lists import aws, azure
from llmops_kit.core.errors import KitError
from llmops_kit.core.layout import cache_dir

SCHEMA = "prices/1"
_TABLE = Path(__file__).with_name("prices.json")
_MACHINES = ("hosting", "training", "spot")


@dataclass(frozen=True)
class Price:
    """An amount in dollars, and its source."""

    amount: float
    source: str
    date: str


class Prices:
    """Prices of one region. A price that is not in the table is None, never a guess."""

    def __init__(self, region: str, document: Mapping[str, Any]) -> None:
        self.region = region
        self._parts: Mapping[str, Any] = document.get("regions", {}).get(region, {})

    def instance(self, kind: str, instance_type: str) -> Price | None:
        """Returns the price of an instance hour; `kind` is hosting, training or spot (Azure's low-priority
        machines).
        """
        return self._find(kind, instance_type)

    def other(self, name: str) -> Price | None:
        """Returns an amount by its name in the table, such as kms_key_month, registry_basic_day or
        private_endpoint_hour.
        """
        return next((p for part in self._parts if (p := self._find(part, name))), None)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yields all known prices of the region."""
        for part, table in self._parts.items():
            for name, amount in table["prices"].items():
                per = "hour" if part in _MACHINES else name.rpartition("_")[2]
                yield {"kind": part, "name": name, "usd": amount, "per": per, "date": table["date"]}

    @property
    def sources(self) -> list[str]:
        """Part, source and date, one line each."""
        return [f"{part}: {table['source']}, {table['date']}" for part, table in self._parts.items()]

    def _find(self, part: str, name: str) -> Price | None:
        table = self._parts.get(part)
        if not table:
            return None
        # Azure's names of sizes are case-insensitive.
        amount = next((usd for known, usd in table["prices"].items() if known.lower() == name.lower()), None)
        return None if amount is None else Price(float(amount), table["source"], table["date"])


def load_prices(region: str) -> Prices:
    """Returns the prices of a region: this machine's refreshed ones, or the kit's table."""
    document = _read(_TABLE)
    refreshed = _read(refreshed_file())
    regions = {**document.get("regions", {}), **refreshed.get("regions", {})}
    return Prices(region, {"regions": regions})


def known_regions() -> list[str]:
    """Returns the regions with any known price."""
    return sorted({*_read(_TABLE).get("regions", {}), *_read(refreshed_file()).get("regions", {})})


def refreshed_file() -> Path:
    return cache_dir() / "prices.json"


def is_azure(region: str) -> bool:
    """Returns whether a region is one of Azure's (westeurope); AWS's contain dashes (eu-central-1)."""
    return "-" not in region


def refresh(region: str, file: Path | None = None, address: str = "") -> Prices:
    """Fetches a region's prices from its cloud's price list and saves them.

    Args:
        region: such as eu-central-1 or westeurope.
        file: the table to write to; None: this machine's.
        address: the price list's address; empty: the cloud's own.

    Raises:
        KitError: the list can't be fetched or read, or contains nothing about this region.
    """
    if is_azure(region):
        parts = azure.prices_of(region, address or azure.PRICE_LIST)
    else:
        parts = aws.prices_of(region, address or aws.PRICE_LIST)
    target = file or refreshed_file()
    document = _read(target) or {"schema": SCHEMA, "currency": "USD", "regions": {}}
    document["regions"] = {**document.get("regions", {}), region: parts}
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.tmp")
    temporary.write_text(json.dumps(document, indent=1) + "\n")
    temporary.replace(target)
    return Prices(region, document)


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as e:
        raise KitError(
            f"can't be read: {e}", where=str(path), fix="delete it; `llmops plan prices refresh` creates it again"
        ) from e
