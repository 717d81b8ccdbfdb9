"""Azure's own client of blobs on a twin: real storage behind it, over TLS that is verified, judged by roles."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from azure.core import MatchConditions
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
)
from azure.storage.blob import BlobBlock, BlobServiceClient, ContainerClient

from llmops_twins.azure.blobs import blobs
from llmops_twins.azure.protocol.calls import Principal
from tests.support.servers.serving import until
from twins.tests.support.azure_hosts import LOCATION, Hosts, running_hosts

VERSION = "2024-01-01"
ACCOUNT = "kitstore"


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    with running_hosts(tmp_path_factory.mktemp("twin")) as made:
        yield made


@pytest.fixture(scope="module")
def account(hosts: Hosts) -> dict[str, Any]:
    body = {
        "location": LOCATION,
        "sku": {"name": "Standard_LRS"},
        "kind": "StorageV2",
        "properties": {"allowSharedKeyAccess": False},
    }
    group = hosts.arm.group()
    path = f"{group}/providers/Microsoft.Storage/storageAccounts/{ACCOUNT}"
    assert hosts.arm.put(path, VERSION, body).status == 202
    found = hosts.arm.get(path, VERSION).body
    assert hosts.arm.put(f"{path}/blobServices/default/containers/store", VERSION, {}).status == 201
    return found


def client(hosts: Hosts, account: dict[str, Any], caller: Principal | None = None) -> BlobServiceClient:
    credential: Any = hosts.credential(caller) if caller else hosts.credential()
    place = account["properties"]["primaryEndpoints"]["blob"]
    # Small pieces, so that little data is uploaded in blocks, several at once.
    options: dict[str, Any] = {"max_block_size": 4 << 20, "max_single_put_size": 4 << 20, "retry_total": 0}
    return BlobServiceClient(place, credential, connection_verify=hosts.trusted, **options)


def code_of(raised: pytest.ExceptionInfo[HttpResponseError]) -> str:
    """Storage's own code of a refusal."""
    return getattr(raised.value, "error_code")  # noqa: B009 (the client sets it; its class doesn't have it)


@pytest.fixture
def store(hosts: Hosts, account: dict[str, Any]) -> Iterator[ContainerClient]:
    with client(hosts, account) as service:
        yield service.get_container_client("store")


def test_what_is_written_is_read_listed_and_deleted(store: ContainerClient, hosts: Hosts) -> None:
    blob = store.get_blob_client("folder/größe 1.txt")
    blob.upload_blob(b"content of it", metadata={"kind": "text"})
    assert blob.download_blob().readall() == b"content of it"
    assert blob.download_blob(offset=3, length=4).readall() == b"tent"
    assert blob.get_blob_properties().metadata == {"kind": "text"}
    assert [each.name for each in store.list_blobs(name_starts_with="folder/")] == ["folder/größe 1.txt"]
    assert [each.name for each in blobs.list_blobs(hosts.twin, ACCOUNT, "store", "folder/")] == ["folder/größe 1.txt"]
    assert [each.name for each in store.walk_blobs() if each.name.startswith("folder")] == ["folder/"]
    blob.delete_blob()
    with pytest.raises(ResourceNotFoundError) as missing:
        blob.download_blob()
    assert code_of(missing) == "BlobNotFound"


def test_conditions_of_writes_are_kept(store: ContainerClient) -> None:
    blob = store.get_blob_client("once")
    first = blob.upload_blob(b"one", match_condition=MatchConditions.IfMissing)
    with pytest.raises((ResourceExistsError, ResourceModifiedError)) as there:
        blob.upload_blob(b"two", overwrite=True, match_condition=MatchConditions.IfMissing)
    assert there.value.status_code in (409, 412)
    blob.upload_blob(b"three", overwrite=True, etag=first["etag"], match_condition=MatchConditions.IfNotModified)
    with pytest.raises(ResourceModifiedError) as changed:
        blob.upload_blob(b"four", overwrite=True, etag=first["etag"], match_condition=MatchConditions.IfNotModified)
    assert changed.value.status_code == 412
    assert blob.download_blob().readall() == b"three"


def test_100_mib_are_uploaded_and_downloaded_in_blocks_at_once(store: ContainerClient, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(1 << 20) * 100)
    with source.open("rb") as content:
        store.upload_blob("large", content, max_concurrency=4)
    with target.open("wb") as content:
        store.download_blob("large", max_concurrency=4).readinto(content)
    assert target.read_bytes() == source.read_bytes()
    store.delete_blob("large")


def test_a_copy_is_of_the_same_account_and_judged(store: ContainerClient) -> None:
    store.upload_blob("original", b"content")
    copy = store.get_blob_client("copied")
    copy.start_copy_from_url(store.get_blob_client("original").url)
    assert copy.download_blob().readall() == b"content"
    with pytest.raises(HttpResponseError) as refused:
        copy.start_copy_from_url("https://localhost:1/store/original")
    assert code_of(refused) == "CannotVerifyCopySource"


def test_a_block_of_another_blob_is_read_by_whom_its_own_token_names(
    hosts: Hosts, account: dict[str, Any], store: ContainerClient
) -> None:
    scope = f"{account['id']}/blobServices/default/containers/store"
    hosts.arm.put(f"{account['id']}/blobServices/default/containers/elsewhere", VERSION, {})
    writer = hosts.principal("writer", Storage_Blob_Data_Contributor=scope)
    with client(hosts, account) as owner, client(hosts, account, writer) as service:
        source = owner.get_blob_client("elsewhere", "source")
        source.upload_blob(b"0123456789", overwrite=True)
        target = service.get_blob_client("store", "of-blocks")
        scopes = "https://storage.azure.com/.default"
        token, own = (f"Bearer {hosts.credential(*who).get_token(scopes).token}" for who in ((), (writer,)))
        for status, source_authorization in ((401, None), (401, "Bearer x"), (403, own)):
            with pytest.raises(HttpResponseError) as refused:
                target.stage_block_from_url("0", source.url, source_authorization=source_authorization)
            assert (refused.value.status_code, code_of(refused)) == (status, "CannotVerifyCopySource")
        target.stage_block_from_url("1", source.url, 7, 3, source_authorization=token)
        target.stage_block_from_url("0", source.url, 0, 4, source_authorization=token)
        target.commit_block_list([BlobBlock("1"), BlobBlock("0")])
        assert target.download_blob().readall() == b"7890123"
        for name, code in (("elsewhere/none", "CannotVerifyCopySource"), ("gone/x", "CannotVerifyCopySource")):
            with pytest.raises(ResourceNotFoundError) as missing:
                target.stage_block_from_url(
                    "0", source.url.replace("elsewhere/source", name), source_authorization=token
                )
            assert code_of(missing) == code
        with pytest.raises(HttpResponseError) as beyond:
            target.stage_block_from_url("0", source.url, 10, 3, source_authorization=token)
        assert code_of(beyond) == "InvalidRange"


def test_containers_of_arm_and_of_the_host_are_the_same(hosts: Hosts, account: dict[str, Any]) -> None:
    with client(hosts, account) as service:
        made = service.create_container("made-here", metadata={"a": "b"})
        with pytest.raises(ResourceExistsError):
            service.create_container("made-here")
        path = f"{account['id']}/blobServices/default/containers"
        assert hosts.arm.get(f"{path}/made-here", VERSION).status == 200
        made.upload_blob("x", b"x")
        assert {each.name for each in service.list_containers()} >= {"store", "made-here"}
        assert hosts.arm.delete(f"{path}/made-here", VERSION).status == 200
        with pytest.raises(ResourceNotFoundError) as gone:
            made.get_blob_client("x").download_blob()
        assert code_of(gone) == "ContainerNotFound"
        hosts.arm.put(f"{path}/made-here", VERSION, {})
        assert not list(made.list_blobs())
        made.delete_container()
        assert hosts.arm.get(f"{path}/made-here", VERSION).status == 404


def test_a_role_on_one_container_is_for_that_container(hosts: Hosts, account: dict[str, Any]) -> None:
    scope = f"{account['id']}/blobServices/default/containers/store"
    hosts.arm.put(f"{account['id']}/blobServices/default/containers/work", VERSION, {})
    reader = hosts.principal("reader", Storage_Blob_Data_Reader=scope)
    with client(hosts, account) as owner, client(hosts, account, reader) as service:
        owner.get_blob_client("store", "judged").upload_blob(b"judged", overwrite=True)
        assert service.get_blob_client("store", "judged").download_blob().readall() == b"judged"
        calls = (
            lambda: service.get_blob_client("store", "judged").upload_blob(b"", overwrite=True),
            lambda: service.get_blob_client("store", "judged").delete_blob(),
            lambda: service.get_blob_client("work", "x").download_blob(),
            lambda: list(service.get_container_client("work").list_blobs()),
            lambda: service.create_container("other"),
            lambda: list(service.list_containers()),
        )
        for call in calls:
            with pytest.raises(HttpResponseError) as refused:
                call()
            assert (refused.value.status_code, code_of(refused)) == (403, "AuthorizationPermissionMismatch")
    blob = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"
    assert [reader.object_id, f"{blob}/read", scope, True] in hosts.twin.state["recorded"]
    assert [reader.object_id, f"{blob}/delete", scope, False] in hosts.twin.state["recorded"]


def test_nobody_comes_in_without_a_good_token(hosts: Hosts, account: dict[str, Any]) -> None:
    place = account["properties"]["primaryEndpoints"]["blob"]
    (keys,) = hosts.arm.call("POST", f"{account['id']}/listKeys", VERSION, {}).body.values()
    options: dict[str, Any] = {"connection_verify": hosts.trusted, "retry_total": 0}
    with BlobServiceClient(place, {"account_name": ACCOUNT, "account_key": keys[0]["value"]}, **options) as shared:
        with pytest.raises(HttpResponseError) as refused:
            shared.get_blob_client("store", "x").download_blob()
        assert code_of(refused) == "KeyBasedAuthenticationNotPermitted"
    with BlobServiceClient(place, **options) as nobody:
        with pytest.raises(ClientAuthenticationError) as unknown:
            nobody.get_blob_client("store", "x").download_blob()
        assert code_of(unknown) == "NoAuthenticationInformation"
        with pytest.raises(HttpResponseError) as signed:
            BlobServiceClient(
                f"{place}?sv=2020-01-01&sig=abc&sp=r&se=2999-01-01T00%3A00%3A00Z", **options
            ).get_blob_client("store", "x").download_blob()
        assert code_of(signed) == "KeyBasedAuthenticationNotPermitted", "it is one of a key of the account"


def test_azurite_that_died_is_started_again(hosts: Hosts, store: ContainerClient) -> None:
    store.upload_blob("before", b"before", overwrite=True)
    kept = hosts.twin.home / "blobs/data/__azurite_db_blob__.json"
    until(lambda: kept.exists() and '"before"' in kept.read_text())  # Azurite writes every five seconds
    azurite = psutil.Process(json.loads((hosts.twin.home / "blobs/azurite.pid").read_text()))
    azurite.kill()
    azurite.wait(60)
    store.upload_blob("after", b"after", overwrite=True)
    assert [store.download_blob(name).readall() for name in ("before", "after")] == [b"before", b"after"]


def test_files_go_up_and_down_within_the_twin(hosts: Hosts, account: dict[str, Any], tmp_path: Path) -> None:
    for name, content in (("a", b"a"), ("b c", b"")):
        (tmp_path / name).write_bytes(content)
    blobs.upload(hosts.twin, ACCOUNT, "store", "run/out/a", tmp_path / "a")
    blobs.upload(hosts.twin, ACCOUNT, "store", "run/out/sub/b c", tmp_path / "b c")
    blobs.download(hosts.twin, ACCOUNT, "store", "run/out/sub/b c", tmp_path / "down" / "b c")
    assert (tmp_path / "down" / "b c").read_bytes() == b""
    assert blobs.read(hosts.twin, ACCOUNT, "store", "run/out/a") == b"a"
    blobs.delete(hosts.twin, ACCOUNT, "store", "run/out/a")
    blobs.delete(hosts.twin, ACCOUNT, "store", "run/out/a")
    assert [each.name for each in blobs.list_blobs(hosts.twin, ACCOUNT, "store", "run/out/")] == ["run/out/sub/b c"]
