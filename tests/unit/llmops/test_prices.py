"""The price table, and its renewal from a server that answers as AWS's price list does."""

import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from contract.errors import KitError
from llmops import prices
from llmops.prices import known_regions, load_prices, refresh


class Quiet(SimpleHTTPRequestHandler):
    """Serves files, says nothing."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@pytest.fixture
def price_list(tmp_path: Path) -> Iterator[str]:
    """The address of a price list with one region."""
    _write_list(tmp_path / "www")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "www"))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/offers/v1.0/aws/index.json"
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMOPS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def _write_list(root: Path) -> None:
    """In the format that AWS documents: service index, region index, price file."""
    base = "/offers/v1.0/aws"
    offers = {}
    for code, products in PRODUCTS.items():
        region = f"{base}/{code}/20261120/eu-central-1/index.json"
        _put(root, region, _offer(code, products))
        _put(
            root,
            f"{base}/{code}/current/region_index.json",
            {"regions": {"eu-central-1": {"currentVersionUrl": region}}},
        )
        offers[code] = {"offerCode": code, "currentRegionIndexUrl": f"{base}/{code}/current/region_index.json"}
    _put(root, f"{base}/index.json", {"formatVersion": "v1.0", "offers": offers})


def _put(root: Path, path: str, document: Any) -> None:
    target = root / path.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(document))


def _offer(code: str, products: list[tuple[dict[str, str], list[tuple[str, str]]]]) -> dict[str, Any]:
    offer: dict[str, Any] = {"formatVersion": "v1.0", "offerCode": code, "version": "20261120"}
    offer |= {"publicationDate": "2026-11-20T10:00:00Z", "products": {}, "terms": {"OnDemand": {}}}
    for number, (attributes, amounts) in enumerate(products):
        sku = f"{code[:4].upper()}{number}"
        offer["products"][sku] = {"sku": sku, "productFamily": "x", "attributes": attributes}
        dimensions = {
            f"{sku}.JRTCKXETXF.{i}": {
                "unit": "Hrs",
                "beginRange": begin,
                "endRange": "Inf",
                "pricePerUnit": {"USD": usd},
            }
            for i, (begin, usd) in enumerate(amounts)
        }
        term = f"{sku}.JRTCKXETXF"
        offer["terms"]["OnDemand"][sku] = {
            term: {"offerTermCode": "JRTCKXETXF", "sku": sku, "priceDimensions": dimensions}
        }
    return offer


def _machine(component: str, usage: str, name: str = "ml.g5.xlarge") -> dict[str, str]:
    return {"component": component, "instanceName": name, "usagetype": usage, "regionCode": "eu-central-1"}


PRODUCTS: dict[str, list[tuple[dict[str, str], list[tuple[str, str]]]]] = {
    "AmazonSageMaker": [
        (_machine("Hosting", "EUC1-Host:ml.g5.xlarge"), [("0", "1.7600000000")]),
        (_machine("Training", "EUC1-Train:ml.g5.xlarge"), [("0", "1.7500000000")]),
        (_machine("Studio-JupyterLab", "EUC1-Studio:JupyterLab-ml.g5.xlarge"), [("0", "9.0")]),
        (_machine("Hosting", "EUC1-ReservedHost:ml.g5.xlarge:x"), [("0", "8.0")]),
    ],
    "AmazonVPC": [
        ({"usagetype": "EUC1-VpcEndpoint-Hours"}, [("0", "0.0120000000")]),
        ({"usagetype": "EUC1-VpcEndpoint-GWLBE-Hours"}, [("0", "0.0110000000")]),
    ],
    "awskms": [({"usagetype": "eu-central-1-KMS-Keys"}, [("0", "1.0000000000")])],
    "AmazonCloudWatch": [({"usagetype": "EUC1-CW:AlarmMonitorUsage"}, [("0", "0.0000000000"), ("10", "0.1000000000")])],
}


def test_every_price_of_the_table_has_a_source_and_a_date() -> None:
    document = json.loads(Path(prices.__file__).with_name("prices.json").read_text())
    assert document["schema"] == prices.SCHEMA
    for parts in document["regions"].values():
        for table in parts.values():
            assert table["source"]
            assert table["date"] >= "2026-01-01"
            assert all(amount > 0 for amount in table["prices"].values())
    assert load_prices("us-east-1").instance("hosting", "ml.g5.xlarge")


def test_what_is_not_in_the_table_is_not_known() -> None:
    assert load_prices("eu-central-1").instance("hosting", "ml.g5.xlarge") is None
    assert load_prices("us-east-1").instance("hosting", "ml.nope.xlarge") is None


def test_a_region_is_fetched_and_used_from_then_on(price_list: str, cache: Path) -> None:
    refresh("eu-central-1", index=price_list)
    found = load_prices("eu-central-1")
    host, train = found.instance("hosting", "ml.g5.xlarge"), found.instance("training", "ml.g5.xlarge")
    assert host
    assert train
    assert (host.amount, train.amount, host.date) == (1.76, 1.75, "2026-11-20")
    others = {name: found.other(name) for name in ("vpc_endpoint_zone_hour", "kms_key_month", "alarm_month")}
    assert {name: price and price.amount for name, price in others.items()} == {
        "vpc_endpoint_zone_hour": 0.012,
        "kms_key_month": 1.0,
        "alarm_month": 0.1,
    }
    assert known_regions() == ["eu-central-1", "us-east-1"]
    assert (cache / "prices.json").is_file()


def test_a_table_of_ones_own_keeps_its_other_regions(price_list: str, tmp_path: Path, cache: Path) -> None:
    file = tmp_path / "table.json"
    file.write_text(json.dumps({"schema": "prices/1", "regions": {"us-east-1": {"hosting": {}}}}))
    refresh("eu-central-1", file, price_list)
    assert sorted(json.loads(file.read_text())["regions"]) == ["eu-central-1", "us-east-1"]
    assert not (cache / "prices.json").exists()


def test_an_unknown_region_and_an_unreachable_list_are_named(price_list: str) -> None:
    with pytest.raises(KitError, match="no SageMaker hosting in mars-1"):
        refresh("mars-1", index=price_list)
    with pytest.raises(KitError, match="can't be fetched"):
        refresh("eu-central-1", index="http://127.0.0.1:1/index.json")
    with pytest.raises(KitError, match="can't be fetched"):
        refresh("eu-central-1", index=price_list.replace("index.json", "nothing.json"))
