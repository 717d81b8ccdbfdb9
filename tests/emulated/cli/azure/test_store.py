"""The store in a blob container, with everything that the store in a folder promises."""

import pytest
from azure.storage.blob import ContainerClient

from llmops_kit.cli.platforms.azure.objects_blob import BlobObjects
from llmops_kit.cli.platforms.azure.platform import AzurePlatform
from llmops_kit.clouds.azure.errors import USE_AZURE
from llmops_kit.clouds.azure.names import STACK_TAG, workspace_id
from llmops_kit.core.errors import KitError
from tests.emulated.cli.azure.conftest import MakePlatform, add_workspace
from tests.support.clouds.store_contract import MakeVersion, StoreContract


def container(platform: AzurePlatform, name: str = "store") -> ContainerClient:
    return platform.session.blobs(platform.azure.blob_url.rstrip("/")).get_container_client(name)


class TestStore(StoreContract):
    target = "azure"

    def work(self, platform: AzurePlatform) -> BlobObjects:
        return BlobObjects(f"{platform.azure.blob_url.rstrip('/')}/work", platform.session)

    def write(self, platform: AzurePlatform, key: str, data: bytes) -> None:
        container(platform).upload_blob(key, data, overwrite=True)

    def test_data_is_removed_to_the_last_version_and_only_the_kits_own_where_the_account_was_given(
        self, make_platform: MakePlatform, make_version: MakeVersion
    ) -> None:
        for tagged in (True, False):
            platform = make_platform(tagged=tagged)
            platform.store().put_model(make_version(), platform.sign)
            for data in (b"1", b"2"):
                self.write(platform, "models/x", data)
            container(platform).delete_blob("models/x")
            self.write(platform, "theirs/data", b"1")
            platform.remove_data()
            platform.remove_data()
            left = {blob.name for blob in container(platform).list_blobs(include=["versions"])}
            assert left == (set() if tagged else {"theirs/data"})


def test_the_stacks_own_workspace_leaves_its_name_free_and_one_that_was_given_stays(
    make_platform: MakePlatform,
) -> None:
    size = {"vm_size": "Standard_DS3_v2"}
    platform = add_workspace(make_platform(), {}, {"cpu": size})
    arm, id_ = platform.session.arm, workspace_id(platform.azure)
    platform.remove_data()
    found = arm.get(id_)
    arm.patch(id_, {"tags": {STACK_TAG: platform.outputs.stack}})
    platform.remove_data()
    assert arm.find(id_) is None
    needed = {name: found["properties"][name] for name in ("storageAccount", "keyVault")}
    again = {"location": found["location"], "identity": {"type": "SystemAssigned"}, "properties": needed}
    assert arm.put(id_, again)["properties"]["provisioningState"] == "Succeeded"


def test_objects_of_a_container(make_platform: MakePlatform) -> None:
    platform = make_platform()
    objects = BlobObjects(platform.outputs.store.url, platform.session)
    assert objects.find("a/none") is None
    assert objects.create("a/one", b"1")
    assert not objects.create("a/one", b"2")
    objects.put("a/b/größe 2", b"2")
    objects.put("a/b/größe 2", b"3")
    assert objects.list("a/") == ["a/b/größe 2", "a/one"]
    assert list(objects.folders("a/")) == ["a/b"]
    assert list(objects.folders("")) == ["a"]
    assert objects.find("a/b/größe 2") == b"3"
    gone = BlobObjects(f"{platform.azure.blob_url.rstrip('/')}/gone", platform.session)
    assert list(gone.folders("")) == []
    with pytest.raises(KitError, match="ContainerNotFound"):
        gone.list("")


def test_a_stack_of_another_subscription_is_refused(make_platform: MakePlatform) -> None:
    platform = make_platform(subscription="11111111-1111-1111-1111-111111111111")
    with pytest.raises(KitError) as refused:
        platform.store()
    assert refused.value.fix == USE_AZURE


def test_a_secret_is_read_from_the_vault(make_platform: MakePlatform) -> None:
    platform = make_platform()
    platform.session.secrets(platform.azure.vault_url).set_secret("hub-token", "told\n")
    assert platform.secret("hub_token") == "told"
    with pytest.raises(KitError, match="SecretNotFound") as caught:
        platform.secret("other")
    assert "az keyvault secret set" in caught.value.fix
