"""The price table, and its renewal from servers that answer as the clouds' price lists do."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from llmops_kit.cli.machines import prices
from llmops_kit.cli.machines.prices import known_regions, load_prices, refresh
from llmops_kit.core.errors import KitError
from tests.support.servers.http_servers import serving


class Quiet(SimpleHTTPRequestHandler):
    """Serves files, says nothing."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@pytest.fixture
def price_list(tmp_path: Path) -> Iterator[str]:
    """The address of a price list with one region."""
    _write_list(tmp_path / "www")
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "www")))) as server:
        yield f"http://127.0.0.1:{server.server_port}/offers/v1.0/aws/index.json"


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
            assert date.fromisoformat(table["date"])
            assert all(amount > 0 for amount in table["prices"].values())
    assert load_prices("us-east-1").instance("hosting", "ml.g5.xlarge")
    for region in ("westeurope", "eastus"):
        found = load_prices(region)
        assert found.instance("hosting", "Standard_DS3_v2") == found.instance("training", "standard_ds3_V2")
        assert found.instance("spot", "Standard_DS3_v2") is None, "nobody's copy of Azure's list has low priority"
        assert {"registry_basic_day", "registry_premium_day", "private_endpoint_hour"} <= {
            row["name"] for row in found.rows()
        }
    per = {row["name"]: row["per"] for row in load_prices("westeurope").rows()}
    assert (per["Standard_DS3_v2"], per["registry_basic_day"], per["query_alert_month"]) == ("hour", "day", "month")


def test_what_is_not_in_the_table_is_not_known() -> None:
    assert load_prices("eu-central-1").instance("hosting", "ml.g5.xlarge") is None
    assert load_prices("us-east-1").instance("hosting", "ml.nope.xlarge") is None


def test_a_region_is_fetched_and_used_from_then_on(price_list: str, cache: Path) -> None:
    refresh("eu-central-1", address=price_list)
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
    assert known_regions() == ["eastus", "eu-central-1", "us-east-1", "westeurope"]
    assert (cache / "prices.json").is_file()


def test_a_table_of_ones_own_keeps_its_other_regions(price_list: str, tmp_path: Path, cache: Path) -> None:
    file = tmp_path / "table.json"
    file.write_text(json.dumps({"schema": "prices/1", "regions": {"us-east-1": {"hosting": {}}}}))
    refresh("eu-central-1", file, price_list)
    assert sorted(json.loads(file.read_text())["regions"]) == ["eu-central-1", "us-east-1"]
    assert not (cache / "prices.json").exists()


def test_an_unknown_region_and_an_unreachable_list_are_named(price_list: str) -> None:
    with pytest.raises(KitError, match="no SageMaker hosting in mars-1"):
        refresh("mars-1", address=price_list)
    with pytest.raises(KitError, match="can't be fetched"):
        refresh("eu-central-1", address="http://127.0.0.1:1/index.json")
    with pytest.raises(KitError, match="can't be fetched"):
        refresh("eu-central-1", address=price_list.replace("index.json", "nothing.json"))


# -- Azure ------------------------------------------------------------------------------------------------------------

PAGE = 3


def _item(sku: str, usd: float, name: str = "Standard_DS3_v2", **more: Any) -> dict[str, Any]:
    """An entry with the members that Microsoft documents."""
    return {
        "currencyCode": "USD",
        "tierMinimumUnits": 0.0,
        "retailPrice": usd,
        "unitPrice": usd,
        "armRegionName": "westeurope",
        "location": "EU West",
        "effectiveStartDate": "2020-08-01T00:00:00Z",
        "meterId": "000a794b-bdb0-58be-a0cd-0c3a0f222923",
        "meterName": sku,
        "productId": "DZH318Z0BQPS",
        "skuId": "DZH318Z0BQPS/00TG",
        "productName": "Virtual Machines DSv2 Series",
        "skuName": sku,
        "serviceName": "Virtual Machines",
        "serviceId": "DZH313Z7MMC8",
        "serviceFamily": "Compute",
        "unitOfMeasure": "1 Hour",
        "type": "Consumption",
        "isPrimaryMeterRegion": True,
        "armSkuName": name,
        **more,
    }


def _meter(service: str, product: str, meter: str, usd: float, **more: Any) -> dict[str, Any]:
    named = {"serviceName": service, "productName": product, "meterName": meter, "unitOfMeasure": "1"}
    return _item(meter, usd, "", **named, **more)


ITEMS = [
    _item("DS3 v2", 0.272),
    _item("DS3 v2 Spot", 0.03),
    _item("DS3 v2 Low Priority", 0.0544),
    _item("DS3 v2", 0.5, productName="Virtual Machines DSv2 Series Windows"),
    _item("DS3 v2", 0.6, productName="DSv2 Series CloudServices"),
    _item("DS3 v2", 0.7, isPrimaryMeterRegion=False),
    _item("DS3 v2", 1500.0, type="Reservation"),
    _item("DS3 v2", 0.25, armRegionName="eastus"),
    _item("D4s v3", 0.24, "Standard_D4s_v3"),
    _meter("Azure Monitor", "Azure Monitor", "Alerts System Log Monitored at 5 Minute Frequency", 1.5),
    _meter("Azure Monitor", "Azure Monitor", "Alerts System Log Monitored at 1 Minute Frequency", 3.0),
    _meter("Azure Monitor", "Azure Monitor", "Alerts Metric Monitored", 0.0, armRegionName="Global"),
    _meter(
        "Azure Monitor", "Azure Monitor", "Alerts Metric Monitored", 0.1, armRegionName="Global", tierMinimumUnits=10
    ),
    _meter("Container Registry", "Container Registry", "Basic Registry Unit", 0.1666),
    _meter("Container Registry", "Container Registry", "Premium Registry Unit", 1.6666),
    _meter(
        "Virtual Network", "Virtual Network Private Link", "Standard Private Endpoint", 0.01, armRegionName="Global"
    ),
]


class RetailPrices(BaseHTTPRequestHandler):
    """Answers `$filter` in pages of three, as Azure does in pages of a thousand."""

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        wanted = dict(term.split(" eq ") for term in query["$filter"][0].split(" and "))
        fields = {"priceType": "type"}
        found = [
            item
            for item in ITEMS
            if all(item[fields.get(name, name)] == value.strip("'") for name, value in wanted.items())
        ]
        skip = int(query.get("$skip", ["0"])[0])
        host = f"http://{self.headers['Host']}"
        link = f"{host}{self.path.partition('&$skip')[0]}&$skip={skip + PAGE}" if skip + PAGE < len(found) else None
        page = found[skip : skip + PAGE]
        body = {"BillingCurrency": "USD", "CustomerEntityId": "Default", "CustomerEntityType": "Retail"}
        data = json.dumps({**body, "Items": page, "NextPageLink": link, "Count": len(page)}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@pytest.fixture
def retail_prices() -> Iterator[str]:
    """The address of a list in the form of Azure's retail prices."""
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), RetailPrices)) as server:
        yield f"http://127.0.0.1:{server.server_port}/api/retail/prices"


def test_a_region_of_azure_is_fetched_page_by_page(retail_prices: str) -> None:
    refresh("westeurope", address=retail_prices)
    found = load_prices("westeurope")
    machines = {
        (kind, name): price and price.amount
        for kind in ("hosting", "training", "spot")
        for name in ("Standard_DS3_v2", "Standard_D4s_v3")
        for price in [found.instance(kind, name)]
    }
    assert machines == {
        ("hosting", "Standard_DS3_v2"): 0.272,
        ("training", "Standard_DS3_v2"): 0.272,
        ("spot", "Standard_DS3_v2"): 0.0544,
        ("hosting", "Standard_D4s_v3"): 0.24,
        ("training", "Standard_D4s_v3"): 0.24,
        ("spot", "Standard_D4s_v3"): None,
    }
    others = {row["name"]: row["usd"] for row in found.rows() if not row["name"].startswith("Standard_")}
    assert others == {
        "query_alert_month": 1.5,
        "metric_alert_month": 0.1,
        "registry_basic_day": 0.1666,
        "registry_premium_day": 1.6666,
        "private_endpoint_hour": 0.01,
    }
    host = found.instance("hosting", "Standard_DS3_v2")
    assert host
    assert (host.source, host.date) == ("Azure retail prices, Virtual Machines", f"{datetime.now(UTC):%Y-%m-%d}")


def test_a_region_that_azure_does_not_have_is_named(retail_prices: str) -> None:
    with pytest.raises(KitError, match="no virtual machines in marswest"):
        refresh("marswest", address=retail_prices)
