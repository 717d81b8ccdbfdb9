"""Whom this process is for Azure, whose stacks it may touch, and what it says of Azure's errors."""

import base64
import json
import time
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import requests
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ServiceRequestError
from azure.mgmt.core.exceptions import ARMErrorFormat

from llmops_kit.cli.platforms.azure.invocations import bearer_token
from llmops_kit.clouds.azure.errors import explained
from llmops_kit.clouds.azure.session import AzureSession
from llmops_kit.core.errors import KitError
from llmops_kit.core.twins import METADATA_VARIABLE, TWIN_SUBSCRIPTION, TWIN_TENANT

TWIN = {METADATA_VARIABLE: "https://localhost:7443/metadata/endpoints"}
TENANT = "22222222-2222-2222-2222-222222222222"
SUBSCRIPTION = "33333333-3333-3333-3333-333333333333"


class Credential:
    """A credential of a tenant; its tokens are read and never judged."""

    def __init__(self, **claims: Any) -> None:
        self._claims = claims
        self.scopes: list[str] = []

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        self.scopes += scopes
        body = base64.urlsafe_b64encode(json.dumps(self._claims).encode()).decode().rstrip("=")
        return AccessToken(f"head.{body}.signature", int(time.time()) + 3600)


def session_of(environ: dict[str, str], **claims: Any) -> AzureSession:
    with mock.patch.dict("os.environ", environ, clear=True):
        made = AzureSession()
    made.__dict__["credential"] = Credential(**claims)
    return made


@pytest.mark.parametrize(
    ("environ", "subscription", "tenant", "words"),
    [
        ({}, TWIN_SUBSCRIPTION, TWIN_TENANT, "lives on a twin, but Azure clients of this shell talk to Azure"),
        (TWIN, SUBSCRIPTION, TENANT, "but Azure clients of this shell talk to a twin"),
        ({}, SUBSCRIPTION, "other", "lives in tenant other, but these credentials are of"),
    ],
)
def test_a_stack_of_another_place_is_refused(
    environ: dict[str, str], subscription: str, tenant: str, words: str
) -> None:
    made = session_of(environ, tid=TENANT, oid="me")
    with mock.patch.dict("os.environ", environ, clear=True), pytest.raises(KitError, match=words) as caught:
        made.require(subscription, tenant, "dev")
    assert caught.value.fix


def test_a_stack_of_this_place_passes() -> None:
    session_of({}, tid=TENANT, oid="me").require(SUBSCRIPTION, TENANT, "dev")
    session_of(TWIN, tid=TWIN_TENANT, oid="me").require(TWIN_SUBSCRIPTION, TWIN_TENANT, "dev")


def test_who_calls_stands_in_the_token() -> None:
    user = session_of({}, tid=TENANT, oid="me", upn="me@example.com").caller
    assert (user.tenant, user.object_id, user.kind) == (TENANT, "me", "User")
    assert session_of({}, tid=TENANT, oid="app", idtyp="app").caller.kind == "ServicePrincipal"


def test_another_cloud_than_the_public_one_is_refused() -> None:
    with (
        mock.patch.dict("os.environ", {METADATA_VARIABLE: "https://management.chinacloudapi.cn/metadata"}),
        pytest.raises(KitError, match="another cloud"),
    ):
        AzureSession()


def test_a_twins_environment_without_credentials_is_told() -> None:
    with mock.patch.dict("os.environ", TWIN | {"AZURE_TOKEN_CREDENTIALS": "EnvironmentCredential"}, clear=True):
        made = AzureSession()
        with pytest.raises(KitError, match="accepts no credentials of this environment") as caught:
            made.token("https://management.azure.com/.default")
    assert "llmops twin azure env" in caught.value.fix


def refusal(status: int, code: str, message: str) -> HttpResponseError:
    """As Azure Resource Manager answers."""
    from azure.core.pipeline.transport import HttpRequest, RequestsTransportResponse

    answer = requests.Response()
    answer.status_code = status
    answer._content = json.dumps({"error": {"code": code, "message": message}}).encode()
    answer.headers["Content-Type"] = "application/json"
    response = RequestsTransportResponse(HttpRequest("GET", "https://x/"), answer)
    return HttpResponseError(response=response, error_format=ARMErrorFormat)


def said(error: Exception, **given: str) -> KitError:
    with pytest.raises(KitError) as caught, explained("there", **given):
        raise error
    return caught.value


@pytest.mark.parametrize(
    ("action", "role"),
    [
        ("Microsoft.MachineLearningServices/workspaces/jobs/write", "AzureML Data Scientist"),
        ("Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read", "Storage Blob Data Contributor"),
        ("Microsoft.KeyVault/vaults/keys/sign/action", "Key Vault Crypto User"),
    ],
)
def test_what_is_not_allowed_is_named_with_its_scope_and_the_role(action: str, role: str) -> None:
    message = (
        f"The client 'x' with object id 'y' does not have authorization to perform action '{action}' over scope "
        "'/subscriptions/s/resourceGroups/rg' or the scope is invalid."
    )
    error = said(refusal(403, "AuthorizationFailed", message))
    assert action in error.what
    assert error.where == "/subscriptions/s/resourceGroups/rg"
    assert role in error.fix


def test_where_azure_names_no_action_the_callers_role_is_named() -> None:
    error = said(refusal(403, "AuthorizationPermissionMismatch", "This request is not authorized."), role="R on C")
    assert (error.where, error.fix) == ("there", "the role R on C")


def test_other_refusals_keep_azures_words_and_name_a_way_out() -> None:
    quota = said(refusal(400, "BadRequest", "Not enough quota available for Standard_DS3_v2"))
    assert quota.what == "Azure refused: BadRequest: Not enough quota available for Standard_DS3_v2"
    assert "llmops plan" in quota.fix
    assert "in a minute" in said(refusal(429, "TooManyRequests", "slow down")).fix
    assert said(refusal(409, "Conflict", "busy"), fix="wait").fix == "wait"
    assert "az login" in said(ClientAuthenticationError("AADSTS7000215: Invalid client secret")).fix


def test_nothing_that_lets_somebody_in_is_in_a_message() -> None:
    text = "url: /logs/std_log.txt?sv=1&sig=SECRET1&se=now, header Bearer SECRET2"
    error = said(ServiceRequestError(text))
    assert "SECRET" not in str(error)
    assert "/logs/std_log.txt" in error.what


def test_a_token_can_not_be_wanted_for_longer_than_entra_gives_it() -> None:
    made = session_of({}, tid=TENANT, oid="me")
    assert bearer_token(made, 1.0).startswith("head.")
    assert made.credential.scopes == ["https://ml.azure.com/.default"]  # type: ignore[attr-defined]
    with pytest.raises(KitError, match="after about an hour") as caught:
        bearer_token(made, 2.0)
    assert caught.value.where == "--hours"


def test_the_subscription_is_the_stacks_else_the_shells_else_that_of_az_login(tmp_path: Path) -> None:
    entries = [{"id": "other", "isDefault": False}, {"id": "login", "isDefault": True}]
    (tmp_path / "azureProfile.json").write_text(json.dumps({"subscriptions": entries}), encoding="utf-8-sig")
    login = {"AZURE_CONFIG_DIR": str(tmp_path)}
    with mock.patch.dict("os.environ", login | {"AZURE_SUBSCRIPTION_ID": "shell"}, clear=True):
        assert (AzureSession("stack").subscription, AzureSession().subscription) == ("stack", "shell")
    with mock.patch.dict("os.environ", login, clear=True):
        assert AzureSession().subscription == "login"
    with (
        mock.patch.dict("os.environ", {"AZURE_CONFIG_DIR": str(tmp_path / "none")}, clear=True),
        pytest.raises(KitError, match="no Azure subscription is set"),
    ):
        _ = AzureSession().subscription
