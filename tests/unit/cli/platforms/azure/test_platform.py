"""What a stack on Azure refuses before anything is made ready, how it signs, and how it is found."""

import hashlib
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature

from llmops_kit.cli.platforms.azure.platform import AzurePlatform
from llmops_kit.cli.platforms.registry import open_platform
from llmops_kit.core.documents.outputs import StackOutputs
from llmops_kit.core.documents.run import Compute
from llmops_kit.core.errors import KitError, NotFoundError, UnsupportedError, require_packages
from llmops_kit.core.layout import MANIFEST
from tests.support.tiny_models.versions import open_verified, write_version

SHA256 = "a" * 64


def platform(**azure: Any) -> AzurePlatform:
    endpoint = {"url": "https://chat.westeurope.inference.ml.azure.com", "model": "chatbot@1", "sha256": SHA256}
    outputs = StackOutputs.new(
        target="azure",
        stack="dev",
        project="llmops",
        store={"url": "https://a.blob.core.windows.net/store"},
        signing={"private_key": "azurekeyvault://v.vault.azure.net/keys/signing/1", "public_key": ""},
        training={"image": azure.pop("image", "r.azurecr.io/training@sha256:1"), "runs": ""},
        endpoints={"chat": {**endpoint, "image": "", "on": True}, "off": {**endpoint, "image": "", "on": False}},
        azure={
            "subscription": "s",
            "tenant": "t",
            "location": "westeurope",
            "resource_group": "rg",
            "workspace": "w",
            "vault_url": "https://v.vault.azure.net",
            "environments": {"training": "/e"},
            "computes": {"cpu": {"vm_size": "Standard_DS3_v2"}},
            "jobs": {"instance_type": "Standard_DS3_v2"},
            **azure,
        },
    )
    found = open_platform(outputs)
    assert isinstance(found, AzurePlatform)
    return found


class Key:
    """As Key Vault's client: signs a digest, and answers r and s side by side."""

    def __init__(self) -> None:
        self.private = ec.generate_private_key(ec.SECP256R1())
        pem = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        self.public = self.private.public_key().public_bytes(*pem).decode()

    def sign(self, algorithm: str, digest: bytes) -> Any:
        assert algorithm == "ES256"
        r, s = decode_dss_signature(self.private.sign(digest, ec.ECDSA(Prehashed(hashes.SHA256()))))
        return mock.Mock(signature=r.to_bytes(32, "big") + s.to_bytes(32, "big"))


def test_a_signature_of_key_vault_is_one_of_the_kits(tmp_path: Path) -> None:
    here, key = platform(), Key()
    signing = here.outputs.signing.model_copy(update={"public_key": key.public})
    here.outputs = here.outputs.model_copy(update={"signing": signing})
    vars(here)["session"] = mock.Mock(key=lambda id_: key if id_.startswith("https://v.vault.azure.net/") else None)
    write_version(tmp_path, "chatbot", "w", passed=True, run="")
    for _ in range(8):  # numbers whose first bytes are zero or have their highest bit set are of other lengths in DER
        here.sign(tmp_path)
        sha256 = hashlib.sha256((tmp_path / MANIFEST).read_bytes()).hexdigest()
        assert open_verified(tmp_path, key.public, sha256).name == "chatbot"


def test_runs_need_an_image_and_a_cluster() -> None:
    assert platform().require_runs() == Compute(instance_type="Standard_DS3_v2")
    for lacking in ({"image": ""}, {"environments": {}}, {"image": f"process:training@sha256:{SHA256}"}):
        with pytest.raises(KitError) as caught:
            platform(**lacking).require_runs()
        assert caught.value.where == "llmops:images.training"
    assert platform(image=f"process:training@sha256:{SHA256}", twin=True).require_runs()
    platform().require_machines(Compute(instance_type="Standard_DS3_v2"))
    with pytest.raises(KitError) as caught:
        platform().require_machines(Compute(instance_type="Standard_DS3_v2", spot=True))
    assert caught.value.where == "azure.computes"


def test_without_what_the_program_says_of_jobs_the_way_out_is_named() -> None:
    assert platform().find() == []
    platform().halt(print)
    here = platform()
    with pytest.raises(KitError, match="another version of the kit"):
        here.stop("r-1")


def test_an_openai_client_gets_the_scoring_address_and_a_token() -> None:
    here = platform()
    vars(here)["session"] = mock.Mock(token=lambda scope: f"token of {scope}")
    access = here.access("chat", 1.0)
    assert access.url == "https://chat.westeurope.inference.ml.azure.com/v1"
    assert (access.key, access.model) == ("token of https://ml.azure.com/.default", "chatbot@1")
    assert access.key not in repr(access)
    with pytest.raises(KitError, match="endpoint off is off"):
        here.access("off", 1.0)
    with pytest.raises(KitError, match="there is no endpoint x"):
        here.live("x")


def test_a_secret_is_called_as_vaults_allow_it() -> None:
    here = platform()
    secrets = mock.Mock()
    secrets.get_secret.side_effect = lambda name: mock.Mock(value=f"{name}\n")
    vars(here)["session"] = mock.Mock(secrets=lambda url: secrets)
    assert here.secret("hub_token") == "llmops-hub-token"


def test_what_is_not_installed_is_named_even_below_a_package_that_is_not_there() -> None:
    with pytest.raises(KitError, match=r"no_such_package\.part is not installed"):
        require_packages("azure", "json", "no_such_package.part")


def test_api_keys_are_refused_with_what_gives_access_on_azure_ml() -> None:
    with pytest.raises(UnsupportedError, match="by Entra ID") as caught:
        platform(endpoints={"chat": "dev-chat"}).issued_keys("chat")
    assert "onlineEndpoints/score/action on /subscriptions/s/" in caught.value.fix
    with pytest.raises(NotFoundError):
        platform().issued_keys("chatt")


def test_the_copies_of_audit_logs_are_kept_while_their_account_exists() -> None:
    account = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/audit"
    others = {"/subscriptions/s/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/data": {}}
    for audit_account, existing, kept in (
        ("", {account: {}}, ""),
        (account, others, ""),
        (account, {account: {}}, account),
    ):
        here = platform(audit_account=audit_account)
        vars(here)["session"] = mock.Mock(arm=mock.Mock(find=existing.get))
        assert here.audit_log() == kept
