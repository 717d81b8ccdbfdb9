"""Azure's own libraries get tokens from the twin, unmodified, over TLS that is verified."""

import http.client
import ssl
import time
import urllib.error
import urllib.request

import certifi
import jwt
import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import (
    ClientAssertionCredential,
    ClientSecretCredential,
    DefaultAzureCredential,
    ManagedIdentityCredential,
)

from llmops_twins.azure.entra.principals import OWNER_APP, OWNER_ID, OWNER_PURPOSE
from llmops_twins.core import root
from twins.tests.support.azure_processes import GROUPS, MANAGEMENT, ArmClient, Subscription

IDENTITIES = "2023-01-31"
ISSUER = "https://token.actions.githubusercontent.com"
SUBJECT = "repo:somebody/something:environment:production"
AUDIENCE = "api://AzureADTokenExchange"


def claims(token: str) -> dict[str, object]:
    return jwt.decode(token, options={"verify_signature": False})


def test_the_default_credential_is_the_owner(subscription: Subscription) -> None:
    with DefaultAzureCredential() as credential:
        found = claims(credential.get_token(MANAGEMENT).token)
    assert (found["oid"], found["appid"], found["tid"]) == (OWNER_ID, OWNER_APP, subscription.info.tenant)
    assert found["aud"] == "https://management.azure.com"


def test_a_token_can_be_verified_with_the_published_keys(subscription: Subscription) -> None:
    with DefaultAzureCredential() as credential:
        token = credential.get_token("https://vault.azure.net/.default").token
    keys = jwt.PyJWKClient(
        f"{subscription.info.url}/{subscription.info.tenant}/discovery/v2.0/keys", ssl_context=subscription.trust()
    )
    key = keys.get_signing_key_from_jwt(token)
    assert jwt.decode(token, key, ["RS256"], audience="https://vault.azure.net")["oid"] == OWNER_ID


def test_a_secret_is_checked(subscription: Subscription) -> None:
    tenant, secret = subscription.info.tenant, root.key(subscription.home, OWNER_PURPOSE)
    with ClientSecretCredential(tenant, OWNER_APP, secret, disable_instance_discovery=True) as credential:
        assert claims(credential.get_token(MANAGEMENT).token)["oid"] == OWNER_ID
    with (
        ClientSecretCredential(tenant, OWNER_APP, "another", disable_instance_discovery=True) as credential,
        pytest.raises(ClientAuthenticationError, match="AADSTS7000215"),
    ):
        credential.get_token(MANAGEMENT)


def test_a_client_that_does_not_know_the_authority_refuses_the_twin(subscription: Subscription) -> None:
    others = ssl.create_default_context(cafile=certifi.where())
    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        urllib.request.urlopen(f"{subscription.info.url}/_twin/health", context=others)


def test_a_workflow_of_github_is_a_user_assigned_identity(subscription: Subscription, arm: ArmClient) -> None:
    group = f"{arm.root}/resourceGroups/federated"
    arm.change("PUT", group, GROUPS, {"location": "westeurope"})
    identity = f"{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/deployer"
    made = arm.change("PUT", identity, IDENTITIES, {"location": "westeurope"})
    credentials = {"issuer": ISSUER, "subject": SUBJECT, "audiences": [AUDIENCE]}
    arm.change("PUT", f"{identity}/federatedIdentityCredentials/github", IDENTITIES, {"properties": credentials})
    client = made["properties"]["clientId"]

    def assertion(subject: str, expires: float = 600) -> str:
        content = {"iss": ISSUER, "sub": subject, "aud": AUDIENCE, "exp": int(time.time() + expires)}
        return subscription.admin("POST", "web-identities", content)["token"]

    def token(given: str) -> str:
        with ClientAssertionCredential(
            subscription.info.tenant, client, lambda: given, disable_instance_discovery=True
        ) as credential:
            return credential.get_token(MANAGEMENT).token

    assert claims(token(assertion(SUBJECT)))["oid"] == made["properties"]["principalId"]
    with pytest.raises(ClientAuthenticationError, match="AADSTS700213"):
        token(assertion("repo:somebody/else:environment:production"))
    with pytest.raises(ClientAuthenticationError, match="AADSTS700024"):
        token(assertion(SUBJECT, expires=-60))
    said = {"iss": ISSUER, "sub": SUBJECT, "aud": AUDIENCE, "exp": int(time.time() + 600)}
    with pytest.raises(ClientAuthenticationError, match="AADSTS50027"):
        token(jwt.encode(said, "of somebody else who signs with another key", "HS256"))


def test_a_managed_identity_of_another_is_not_given(subscription: Subscription) -> None:
    with (
        ManagedIdentityCredential(client_id="11111111-1111-1111-1111-111111111111") as credential,
        pytest.raises(ClientAuthenticationError, match="No User Assigned or Delegated Managed Identity"),
    ):
        credential.get_token(MANAGEMENT)


def test_what_has_no_token_or_a_wrong_one_is_refused(subscription: Subscription) -> None:
    def ask(authorization: str) -> tuple[int, str]:
        connection = http.client.HTTPSConnection("localhost", subscription.info.port, context=subscription.trust())
        headers = {"Authorization": authorization} if authorization else {}
        connection.request("GET", "/subscriptions?api-version=2022-12-01", headers=headers)
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer.status, answer.headers["WWW-Authenticate"] or ""

    with DefaultAzureCredential() as credential:
        good = credential.get_token(MANAGEMENT).token
        of_vaults = credential.get_token("https://vault.azure.net/.default").token
    assert ask(f"Bearer {good}") == (200, "")
    for wrong in ("", f"Bearer {of_vaults}", f"Bearer {good[:-4]}AAAA", "Bearer x"):
        status, challenge = ask(wrong)
        assert status == 401
        assert challenge.startswith(f'Bearer authorization_uri="{subscription.info.url}/{subscription.info.tenant}"')
