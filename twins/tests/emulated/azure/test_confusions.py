"""What is judged is what answers, on Azure's twin: requests that two readers would read differently."""

import http.client
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest

from llmops_twins.azure.blobs import blobs
from llmops_twins.azure.entra import tokens
from llmops_twins.azure.main_port import ManagerApp
from llmops_twins.azure.protocol.calls import Principal
from tests.support.clouds.azure import GROUP_VERSION
from twins.tests.support.azure_hosts import LOCATION, Hosts, running_hosts

STORAGE_VERSION = "2024-01-01"
MARK = "what-only-the-owner-may-read"
BLOBS_API = {"x-ms-version": "2023-11-03"}


@dataclass
class Site:
    """A twin with two groups, two storage accounts, and a principal who may do little."""

    hosts: Hosts
    place: str
    arm: str
    caller: Principal
    connections: dict[str, http.client.HTTPSConnection] = field(default_factory=dict)

    def blob(
        self, method: str, path: str, body: bytes = b"", caller: Principal | None = None, /, **headers: str
    ) -> Any:
        """A request for the account's blobs, as it is written here."""
        token = tokens.issue(self.hosts.twin, caller or self.caller, tokens.STORAGE[0])
        return self._send(
            self.place, method, path, body, token, {**BLOBS_API, "x-ms-blob-type": "BlockBlob", **headers}
        )

    def manage(self, method: str, path: str, body: bytes = b"", **headers: str) -> Any:
        """A request for Resource Manager, as it is written here."""
        token = tokens.issue(self.hosts.twin, self.caller, tokens.MANAGEMENT[0])
        return self._send(self.arm, method, path, body, token, {"Content-Type": "application/json", **headers})

    def _send(self, url: str, method: str, path: str, body: bytes, token: str, headers: dict[str, str]) -> Any:
        own = {name.replace("_", "-"): value for name, value in headers.items()}
        own |= {"Authorization": f"Bearer {token}", "Content-Length": str(len(body))}
        if url not in self.connections:
            parts, trust = urlsplit(url), self.hosts.context()
            self.connections[url] = http.client.HTTPSConnection("localhost", parts.port, context=trust, timeout=60)
        connection = self.connections[url]
        connection.putrequest(method, path, skip_accept_encoding=True)
        for name, value in own.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        return answer.status, answer.read()

    def holdings(self) -> Any:
        """What there is: resources, and blobs by account and container."""
        twin = self.hosts.twin
        with twin.lock:
            resources = sorted(f"{id_} {document.get('tags')}" for id_, document in twin.resources.items())
        places = [("kitopen", "open"), ("kitopen", "closed"), ("kitother", "closed")]
        return resources, [[each.name for each in blobs.list_blobs(twin, *place)] for place in places]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running_hosts(tmp_path_factory.mktemp("twin")) as hosts:
        arm = hosts.arm
        mine, theirs = arm.group("mine"), arm.group("theirs")
        assert arm.call("PATCH", theirs, GROUP_VERSION, {"tags": {"mark": MARK}}).status == 200
        body = {"location": LOCATION, "sku": {"name": "Standard_LRS"}, "kind": "StorageV2"}
        accounts = [f"{mine}/providers/Microsoft.Storage/storageAccounts/{name}" for name in ("kitopen", "kitother")]
        for account in accounts:
            assert arm.put(account, STORAGE_VERSION, body).status == 202
            for container in ("open", "closed"):
                path = f"{account}/blobServices/default/containers/{container}"
                assert arm.put(path, STORAGE_VERSION, {}).status == 201
        opened = f"{accounts[0]}/blobServices/default/containers/open"
        caller = hosts.principal("little", Storage_Blob_Data_Contributor=opened, Reader=mine)
        assert hosts.twin.listen
        url = hosts.twin.listen("arm", ManagerApp(hosts.twin), True)
        place = arm.get(accounts[0], STORAGE_VERSION).body["properties"]["primaryEndpoints"]["blob"]
        made = Site(hosts, place, url, caller)
        other = arm.get(accounts[1], STORAGE_VERSION).body["properties"]["primaryEndpoints"]["blob"]
        for where, container in ((place, "closed"), (place, "open"), (other, "closed")):
            owner = hosts.principal("owner", Storage_Blob_Data_Owner=mine)
            made.place = where
            content = b"open" if container == "open" else MARK.encode()
            assert made.blob("PUT", f"/{container}/object", content, owner)[0] == 201
        made.place = place
        yield made
        for connection in made.connections.values():
            connection.close()


PATHS = [
    *("/open/../closed/object", "/open/%2e%2e/closed/object", "/open%2f..%2fclosed/object", "/open/..%2fclosed/object"),
    *(
        "//closed/object",
        "/./closed/object",
        "/closed/object",
        "/closed%2fobject",
        "/closed/./object",
        "/closed//object",
    ),
    *("/open/../../twin001/closed/object", "/open/..%2f..%2ftwin002/closed/object", "/open\\..\\closed\\object"),
    *(
        "/open/%252e%252e/closed/object",
        "/OPEN/../closed/object",
        "/open./../closed/object",
        "/open/.%00/../closed/object",
    ),
    *("/closed?restype=container&comp=list", "/open/../closed?restype=container&comp=list", "/?comp=list"),
    *(
        "/open/x?restype=container&comp=list&prefix=../closed",
        "/closed/object?snapshot=x",
        "/closed/object?versionid=x",
    ),
    *("/closed/object?comp=metadata&comp=", "/open/object/../../closed/object?comp=metadata", "/closed?comp=list"),
    *("/open/object?restype=container", "/open/object?restype=container&comp=acl"),
    *("/open/object?comp=tags&restype=service&comp=properties", "/?restype=service&comp=properties", "/$root/object"),
    *("/open/object?se=2999-01-01&sp=rwdl&sig=x&sv=2020-10-02&sr=c", "/closed/object?ss=b&srt=sco&sp=r&sig=AAAA"),
]


@pytest.mark.vulnerability(7)
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "POST"])
@pytest.mark.parametrize("path", PATHS)
def test_vulnerability_7_blobs_are_those_that_were_judged(site: Site, method: str, path: str) -> None:
    before = site.holdings()
    status, answer = site.blob(method, path, b"<x/>" if method in ("PUT", "POST") else b"")
    assert MARK.encode() not in answer
    assert status != 500
    _restore(site)
    assert _without_own(site.holdings()) == _without_own(before)


def _restore(site: Site) -> None:
    """What the principal may write and delete in the container that it was given."""
    with site.hosts.twin.lock:
        there = site.hosts.twin.children("/subscriptions", blobs.CONTAINERS)
    assert len(there) == 4, "a container went or came"
    site.blob("PUT", "/open/object", b"open")


def _without_own(holdings: Any) -> Any:
    return holdings[0], holdings[1][1:]


@pytest.mark.vulnerability(7)
@pytest.mark.parametrize(
    "headers",
    [
        {"x-ms-copy-source": "{place}closed/object"},
        {"x-ms-copy-source": "{place}open/../closed/object"},
        {"x-ms-copy-source": "{place}open%2f..%2fclosed/object"},
        {"x-ms-copy-source": "{place}/closed/object"},
        {"x-ms-copy-source": "http://127.0.0.1:1/twin000/closed/object"},
        {"X-HTTP-Method-Override": "DELETE", "X-HTTP-Method": "DELETE", "X-Method-Override": "DELETE"},
        {"X-Original-URL": "/closed/object", "X-Rewrite-URL": "/closed/object", "X-Forwarded-Path": "/closed/object"},
    ],
)
def test_vulnerability_7_no_header_leads_to_another_blob(site: Site, headers: dict[str, str]) -> None:
    before = site.holdings()
    written = {name: value.format(place=site.place) for name, value in headers.items()}
    site.blob("PUT", "/open/copied", b"", None, **written)
    assert MARK.encode() not in site.blob("GET", "/open/copied", b"", None, **written)[1]
    site.blob("DELETE", "/open/copied")
    _restore(site)
    assert site.holdings() == before


def _arm_paths(site: Site) -> list[str]:
    root = f"/subscriptions/{site.hosts.twin.subscription}"
    version = f"?api-version={GROUP_VERSION}"
    groups = [
        *("theirs", "mine/../theirs", "mine/%2e%2e/theirs", "mine%2f..%2ftheirs", "/theirs", "./theirs", "theirs."),
        *(
            "THEIRS",
            "theirs/",
            "theirs//",
            "mine/providers/../../theirs",
            "theirs%20",
            "theirs%00",
            "theirs/.",
            "%74heirs",
        ),
        *("mine%252f..%252ftheirs", "mine/resourceGroups/theirs", "mine;/theirs", "mine?/../theirs", "mine#/../theirs"),
    ]
    return [
        *(f"{root}/resourceGroups/{group}{version}" for group in groups),
        *(f"{root}/resourceGroups/{group}/exportTemplate{version}" for group in ("theirs", "mine/../theirs")),
        *(f"/{root}/resourceGroups/theirs{version}", f"/metadata/endpoints/..{root}/resourceGroups/theirs{version}"),
        f"{root}/resourceGroups/theirs{version}&API-VERSION=2024-03-01&api-version=2020-06-01",
        f"{root}/resourceGroups/theirs?API-Version={GROUP_VERSION}&$filter=x&x-http-method=DELETE",
        f"{root}//resourceGroups//theirs{version}",
        f"{root}/resourceGroups{version}",
        f"{root}/resources{version}",
    ]


@pytest.mark.vulnerability(7)
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "POST"])
def test_vulnerability_7_resources_are_those_that_were_judged(site: Site, method: str) -> None:
    before = site.holdings()
    body = b'{"location": "westeurope", "tags": {"by": "others"}}' if method in ("PUT", "PATCH", "POST") else b""
    overrides = {"X-HTTP-Method-Override": "DELETE", "X-Original-URL": "/_twin/reset", "X-Rewrite-URL": "/_twin/reset"}
    for path in _arm_paths(site):
        status, answer = site.manage(method, path, body, **overrides)
        assert MARK.encode() not in answer, path
        assert status != 500, (path, answer)
        assert site.holdings() == before, path


@pytest.mark.vulnerability(7)
def test_vulnerability_7_no_mixture_of_paths_gets_through(site: Site) -> None:
    """200 requests, put together by chance: each is for blobs or for Resource Manager."""
    chance = random.Random(20261127)
    pieces = ["open", "closed", "object", "..", "%2e%2e", "%2f", "%5c", ".", "", "twin000", "twin001", "%00", "theirs"]
    queries = [
        "",
        "?restype=container",
        "?comp=list&restype=container",
        "?comp=metadata",
        "?restype=container&comp=acl",
    ]
    queries += [
        "?comp=tags",
        "?comp=blocklist",
        "?comp=lease",
        "?comp=copy",
        "?comp=batch",
        f"?api-version={GROUP_VERSION}",
    ]
    root = f"/subscriptions/{site.hosts.twin.subscription}/resourceGroups/"
    before = site.holdings()
    for number in range(200):
        path = "/" + "/".join(chance.choices(pieces, k=chance.randint(1, 5))) + chance.choice(queries)
        method = chance.choice(["GET", "HEAD", "PUT", "DELETE", "POST"])
        if number % 3:
            status, answer = site.blob(method, path, b"<x/>" if method in ("PUT", "POST") else b"")
        else:
            status, answer = site.manage(method, root + path.lstrip("/"), b"{}" if method in ("PUT", "POST") else b"")
        assert MARK.encode() not in answer, (method, path)
        assert status != 500, (method, path, answer)
    _restore(site)
    assert _without_own(site.holdings()) == _without_own(before)
