"""The identities that bootstrap makes for GitHub: who may be them, and that each suffices for its commands."""

import base64
import json
import os
import ssl
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from azure.keyvault.keys.crypto import SignatureAlgorithm
from ruamel.yaml import YAML

from llmops_kit.cli.platforms.azure import given
from llmops_kit.cli.platforms.azure.bootstrap.bootstrap import BootstrappedSubscription, bootstrap
from llmops_kit.cli.platforms.azure.bootstrap.github import ISSUER
from llmops_kit.clouds.account_names import named_after
from llmops_kit.clouds.azure.errors import explained
from llmops_kit.clouds.azure.roles import BUILT_IN
from llmops_kit.clouds.azure.session import AzureSession
from llmops_kit.core.errors import KitError
from llmops_twins.azure import control
from tests.emulated.cli.azure.conftest import entered
from tests.emulated.cli.azure.test_policy import ROOT, STACK, put_version
from tests.emulated.cli.conftest import Kit
from tests.support.clients import client_environ
from tests.support.clouds.azure_twin import LOCATION, role_assignment
from tests.support.servers.serving import until
from tests.support.workflows import commit, load, outputs

PULL_REQUEST, MAIN, BRANCH, PROMOTE = (
    "repo:acme/ci:pull_request",
    "repo:acme/ci:ref:refs/heads/main",
    "repo:acme/ci:ref:refs/heads/x",
    "repo:acme/ci:environment:promote",
)
OWNER = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
ADMINISTRATOR, CONTRIBUTOR = "f58310d9-a9f6-439a-9e8d-f62e7b41a168", "b24988ac-6180-42a0-ab88-20f7382dd24c"
SECRETS_OFFICER = "b86a8fe4-44ce-4948-aee5-eccb2c155cd7"
ROLES_API = "2022-04-01"
ACR_PULL = "7f951dda-4ed3-4680-a7ca-43fe172d538d"


@pytest.fixture(scope="module")
def environ(twin: Path) -> dict[str, str]:
    """Of the twin's clients, with the engine."""
    return client_environ(control.environment(twin))


@pytest.fixture(scope="module")
def made(twin: Path) -> BootstrappedSubscription:
    with entered(twin):
        return bootstrap(AzureSession(), "llmops", lambda _: None, github="acme/ci", stacks=("ci",))


def sign_in(session: AzureSession, client: str, subject: str = "", **claims: Any) -> None:
    """As azure/login does, with a token as GitHub gives one to a workflow: the twin makes it, with the subject of the
    claims if none is given.
    """
    claims |= {"iss": ISSUER, "aud": "api://AzureADTokenExchange", "exp": time.time() + 300}
    claims |= {"sub": subject} if subject else {}
    form = {
        "grant_type": "client_credentials",
        "client_id": client,
        "scope": "https://management.azure.com/.default",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": given.admin("POST", "web-identities", claims)["token"],
    }
    url = f"{session.twin}/{session.caller.tenant}/oauth2/v2.0/token"
    with urllib.request.urlopen(
        url, urllib.parse.urlencode(form).encode(), timeout=120, context=ssl.create_default_context()
    ) as answer:
        assert json.load(answer)["access_token"]


@pytest.mark.parametrize(
    ("kind", "subject", "may"),
    [
        ("preview", PULL_REQUEST, True),
        ("preview", MAIN, True),
        ("deploy", MAIN, True),
        ("deploy", PULL_REQUEST, False),
        ("deploy", BRANCH, False),
        ("preview", BRANCH, False),
        ("preview", "repo:evil/ci:pull_request", False),
        ("promote", PROMOTE, True),
        ("promote", MAIN, False),
        ("promote", PULL_REQUEST, False),
        ("deploy", PROMOTE, False),
    ],
)
def test_no_other_workflow_is_an_identity(
    made: BootstrappedSubscription, session: AzureSession, kind: str, subject: str, may: bool
) -> None:
    if may:
        sign_in(session, made.client_ids[kind], subject)
        return
    with pytest.raises(urllib.error.HTTPError) as refused:
        sign_in(session, made.client_ids[kind], subject)
    refused.value.close()
    assert refused.value.code == 401


def test_a_repository_is_known_by_its_ids_and_by_its_names_on_request(
    made: BootstrappedSubscription, session: AzureSession
) -> None:
    claims: dict[str, Any] = {
        "repository": "acme/new",
        "repository_owner_id": "11",
        "repository_id": "22",
        "ref": "refs/heads/main",
    }
    by_name: dict[str, Any] = claims | {"use_immutable_subject": False}
    others = [claims | {"repository_id": "23"}, claims | {"repository_owner_id": "12"}, claims | {"ref": "refs/x"}]
    name, ids = "repo:acme/new:ref:refs/heads/main", "repo:acme@11/new@22:ref:refs/heads/main"
    for github, asked, accepted, refused in (
        ("acme/new", False, {"branch": (name, by_name)}, [claims]),
        ("acme@11/new@22", True, {"branch-ids": (ids, claims), "branch": (name, by_name)}, others),
        ("acme@11/new@22", False, {"branch-ids": (ids, claims)}, [by_name, *others]),
        ("acme/new", False, {"branch-ids": (ids, claims)}, [by_name]),  # names alone are weaker
    ):
        again = bootstrap(session, "llmops", lambda _: None, github=github, by_name=asked, stacks=("ci",))
        credentials = session.arm.list(f"{again.roles['deploy']}/federatedIdentityCredentials")
        found = {each["name"]: each["properties"]["subject"] for each in credentials}
        assert found == {name: subject for name, (subject, _) in accepted.items()}
        for _, each in accepted.values():
            sign_in(session, again.client_ids["deploy"], **each)
        for each in refused:
            with pytest.raises(urllib.error.HTTPError) as answer:
                sign_in(session, again.client_ids["deploy"], **each)
            answer.value.close()
    assert not [row for row in again.rows if row["state"].startswith(("made", "changed"))]
    with pytest.raises(urllib.error.HTTPError) as answer:
        sign_in(session, made.client_ids["deploy"], **claims | {"repository": "acme/ci"})
    answer.value.close()


def identity(session: AzureSession, made: BootstrappedSubscription, kind: str) -> dict[str, str]:
    """Variables with which a process is one of the identities."""
    properties = session.arm.get(made.roles[kind])["properties"]
    variables = given.admin("POST", "headers", {"object_id": properties["principalId"]})
    # The stand-in plugin takes the same identity from the same place.
    client = {"AZURE_CLIENT_ID": properties["clientId"], "ARM_CLIENT_ID": properties["clientId"]}
    return {**variables, **client, "ARM_USE_MSI": "true", "ARM_CLIENT_SECRET": ""}


def test_bootstrap_for_github_is_repeated_without_a_change(
    made: BootstrappedSubscription, session: AzureSession
) -> None:
    again = bootstrap(session, "llmops", lambda _: None, github="acme/ci", stacks=("ci",))
    assert {row["state"] for row in again.rows} == {"is there"}
    assert again.client_ids == made.client_ids
    credential = f"{made.roles['deploy']}/federatedIdentityCredentials/branch"
    properties = session.arm.get(credential)["properties"]
    opened = {**properties, "subject": "repo:acme/ci:ref:refs/heads/x"}
    session.arm.put(credential, {"properties": opened})
    changed = [
        row["state"] for row in bootstrap(session, "llmops", lambda _: None, github="acme/ci", stacks=("ci",)).rows
    ]
    assert [state for state in changed if state.startswith("changed")] == [
        f"changed: repo:acme/ci:ref:refs/heads/x -> {MAIN}"
    ]


@pytest.mark.vulnerability(12)
def test_vulnerability_12_the_deploy_identity_gives_roles_to_the_stacks_own_identities_alone(
    made: BootstrappedSubscription, session: AzureSession
) -> None:
    deploy, somebody = identity(session, made, "deploy"), given.application("somebody")[1]
    stack = made.stacks["ci"]
    group = stack["resource_group"]
    training = session.arm.get(stack["identities"]["training"])["properties"]["principalId"]
    own = session.arm.get(made.roles["deploy"])["properties"]["principalId"]
    with mock.patch.dict(os.environ, deploy):
        other = AzureSession()
        until(lambda: _gives(other, training, ACR_PULL, group))
        for principal, role, scope in (
            (training, ACR_PULL, ROOT.partition("/providers")[0]),
            (training, ACR_PULL, made.names.group_id),
            (training, OWNER, group),
            (training, ADMINISTRATOR, group),
            (somebody, ACR_PULL, group),
            (own, SECRETS_OFFICER, group),
        ):
            with pytest.raises(KitError, match="may not"):
                _give(other, principal, role, scope)
    for assignment in _of(session, group, training):
        session.arm.delete(assignment["id"], ROLES_API)


@pytest.mark.vulnerability(12)
def test_vulnerability_12_the_deploy_identity_neither_removes_nor_opens_the_states_nor_signs(
    made: BootstrappedSubscription, session: AzureSession
) -> None:
    names, stack = made.names, made.stacks["ci"]
    trusted = {"issuer": ISSUER, "subject": "repo:evil/ci:pull_request", "audiences": ["api://AzureADTokenExchange"]}
    takes = f"{made.roles['promote']}/federatedIdentityCredentials/evil"
    account = session.arm.get(names.account_id)["properties"]["primaryEndpoints"]["blob"]
    with mock.patch.dict(os.environ, identity(session, made, "deploy")):
        other = AzureSession()
        until(lambda: _writes_states(other, account))
        for refused in (
            lambda: other.arm.delete(names.account_id),
            lambda: other.arm.post(names.account_id, "listKeys"),
            lambda: other.arm.patch(names.account_id, {"properties": {"allowBlobPublicAccess": True}}),
            lambda: other.arm.delete(names.container_id),
            lambda: other.arm.delete(names.vault_id),
            lambda: other.arm.patch(names.vault_id, {"properties": {"enableRbacAuthorization": False}}),
            lambda: other.arm.put(names.key_id, {"properties": {"attributes": {"enabled": False}}}),
            lambda: other.arm.delete(names.group_id),
            lambda: other.arm.put(takes, {"properties": trusted}),
        ):
            with pytest.raises(KitError, match="may not"):
                refused()
        with pytest.raises(KitError, match="may not"), explained("states"):
            other.blobs(account.rstrip("/")).delete_container("states")
        with pytest.raises(KitError, match="may not"), explained("signing"):
            other.key(stack["signing_key"]).sign(SignatureAlgorithm.es256, b"0" * 32)
    with mock.patch.dict(os.environ, identity(session, made, "promote")):
        until(lambda: _signs(AzureSession(), stack["signing_key"]))


def _writes_states(session: AzureSession, account: str) -> bool:
    try:
        with explained("states"):
            session.blobs(account.rstrip("/")).get_blob_client("states", "probe").upload_blob(b"", overwrite=True)
            session.blobs(account.rstrip("/")).get_blob_client("states", "probe").delete_blob()
    except KitError as e:
        if "may not" not in e.what:
            raise
        return False
    return True


def _signs(session: AzureSession, key: str) -> bool:
    try:
        with explained("signing"):
            return bool(session.key(key).sign(SignatureAlgorithm.es256, b"0" * 32).signature)
    except KitError as e:
        if "may not" not in e.what:
            raise
        return False


def test_what_an_earlier_version_gave_on_the_subscription_is_taken_back(
    made: BootstrappedSubscription, session: AzureSession
) -> None:
    principal = session.arm.get(made.roles["deploy"])["properties"]["principalId"]
    given.assign(session, principal, "Reader")
    scope = made.names.scope
    given_now = _of(session, scope, principal)
    by_hand = next(a["id"] for a in given_now if a["properties"]["roleDefinitionId"].endswith(BUILT_IN["Reader"]))
    for role in ("Role Based Access Control Administrator", "Contributor"):
        name = uuid.uuid5(uuid.NAMESPACE_URL, f"{scope} {BUILT_IN[role]} {principal}")
        root = f"{scope}/providers/Microsoft.Authorization"
        body = role_assignment(principal, f"{root}/roleDefinitions/{BUILT_IN[role]}")
        session.arm.put(f"{root}/roleAssignments/{name}", body)
    again = bootstrap(session, "llmops", lambda _: None, github="acme/ci", stacks=("ci",))
    changed = [row["what"] for row in again.rows if row["state"].startswith("changed: removed")]
    assert [what.partition(" of ")[0] for what in sorted(changed)] == [
        "role Contributor",
        "role Role Based Access Control Administrator",
    ]
    assert [row["what"].partition(" of ")[0] for row in again.rows if "did not assign" in row["state"]] == [
        "role Reader"
    ]
    session.arm.delete(by_hand)  # it was still there
    left = _of(session, made.names.scope, principal)
    assert {each["properties"]["scope"] for each in left if "/resourceGroups/" not in each["properties"]["scope"]}
    assert not [each for each in left if each["properties"]["roleDefinitionId"].endswith(CONTRIBUTOR)
                and "/resourceGroups/" not in each["properties"]["scope"]]  # fmt: skip


def test_workflows_without_a_stack_get_nothing(session: AzureSession) -> None:
    with pytest.raises(KitError) as refused:
        bootstrap(session, "llmops", lambda _: None, github="acme/none")
    assert refused.value.where == "--for"


def test_a_group_of_somebody_else_is_not_taken(made: BootstrappedSubscription, session: AzureSession) -> None:
    group = made.stacks["ci"]["resource_group"].replace("-ci-group-", "-own-group-")
    name = named_after("llmops", "own", "group", 90)
    session.arm.put(f"{group.rpartition('/')[0]}/{name}", {"location": LOCATION})
    with pytest.raises(KitError) as refused:
        bootstrap(session, "llmops", lambda _: None, stacks=("own",))
    assert refused.value.where.endswith(f"/resourceGroups/{name}")


def _of(session: AzureSession, scope: str, principal: str) -> list[dict[str, Any]]:
    query = {"$filter": f"principalId eq '{principal}'"}
    return list(session.arm.list(f"{scope}/providers/Microsoft.Authorization/roleAssignments", ROLES_API, **query))


def test_the_preview_identity_changes_nothing(made: BootstrappedSubscription, session: AzureSession) -> None:
    account = session.arm.get(made.names.account_id)["properties"]["primaryEndpoints"]["blob"]
    group = made.stacks["ci"]["resource_group"]
    with mock.patch.dict(os.environ, identity(session, made, "preview")):
        other = AzureSession()
        until(lambda: _reads_states(other, account))
        for place in (f"{made.names.scope}/resourceGroups/theirs", group):
            with pytest.raises(KitError, match="may not"):
                other.arm.put(place, {"location": LOCATION})
        with pytest.raises(KitError, match="may not"), explained("states"):
            other.blobs(account.rstrip("/")).get_blob_client("states", "theirs").upload_blob(b"")


def _reads_states(session: AzureSession, account: str) -> bool:
    try:
        with explained("states"):
            list(session.blobs(account.rstrip("/")).get_container_client("states").list_blob_names())
    except KitError as e:
        if "may not" not in e.what:
            raise
        return False  # a role takes its time
    return True


def _gives(session: AzureSession, principal: str, role: str, scope: str) -> bool:
    try:
        _give(session, principal, role, scope)
    except KitError as e:
        if "may not" not in e.what:
            raise
        return False
    return True


def _give(session: AzureSession, principal: str, role: str, scope: str) -> None:
    properties = {
        "principalId": principal,
        "principalType": "ServicePrincipal",
        "roleDefinitionId": f"{ROOT}/roleDefinitions/{role}",
    }
    id_ = f"{scope}/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid4()}"
    session.arm.put(id_, {"properties": properties}, ROLES_API)


@pytest.mark.long
def test_the_workflows_run_as_the_identities_that_they_take(
    kit: Kit, environ: dict[str, str], session: AzureSession, made: BootstrappedSubscription, tmp_path: Path
) -> None:
    write_stack(kit.folder / "Pulumi.ci.yaml", made.stacks["ci"])
    (kit.folder / ".venv").symlink_to(sys.prefix)
    commit(kit.folder, "Pulumi.ci.yaml")
    said = {"GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"), "GITHUB_OUTPUT": str(tmp_path / "output")}
    root = environ | {"PULUMI_HOME": kit.environ["PULUMI_HOME"]} | said

    def run(workflow: str, job: str, **more: str) -> None:
        file = load(f"azure/{workflow}.yml")
        given = {"PULUMI_STACK": "ci", "PULUMI_BACKEND_URL": made.backend}
        assert given.keys() <= file.document["env"].keys()
        kind = file.job(job).identity
        assert kind.upper() in file.document["env"].get("ARM_CLIENT_ID", kind.upper())
        file.job(job).run(kit.folder, root | given | identity(session, made, kind) | more)

    run("deploy", "deploy")
    kit.environ = root | {"PULUMI_BACKEND_URL": made.backend, "PULUMI_STACK": "ci"}
    put_version(kit.environ, kit, tmp_path / "one", "one")
    run("promote", "review", VERSION="chatbot@latest")
    assert "## Promote `chatbot@1`" in (tmp_path / "summary.md").read_text()
    seen = outputs(tmp_path / "output")
    run("promote", "promote", IDENTITY=seen["identity"], RUN=seen["run"])
    assert b"+      model: chatbot@1@sha256:" in base64.b64decode(outputs(tmp_path / "output")["patch"])
    run("preview", "preview")
    assert "endpoint chatbot: new -> chatbot@1" in (tmp_path / "summary.md").read_text()
    run("deploy", "deploy")
    run("drift", "drift")
    kit.environ |= identity(session, made, "deploy")
    kit.run("down", "--data", "ci")
    left = session.arm.list(f"{made.stacks['ci']['resource_group']}/resources")
    assert {each["id"].lower() for each in left} == {id_.lower() for id_ in made.stacks["ci"]["identities"].values()}


def write_stack(path: Path, place: dict[str, Any]) -> None:
    """A stack's file, with what bootstrap prints for it."""
    yaml = YAML()
    document = yaml.load(STACK)
    document["config"]["llmops:azure"] |= place
    yaml.dump(document, path)
