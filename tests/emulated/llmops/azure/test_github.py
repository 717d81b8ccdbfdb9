"""The identities that bootstrap makes for GitHub: who may be them, and that each suffices for its commands."""

import json
import os
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from pathlib import Path
from unittest import mock

import pytest
from ruamel.yaml import YAML

from contract.errors import KitError
from llmops.platforms.azure import given
from llmops.platforms.azure.bootstrap import GROUP_API, IDENTITY_API, STORAGE_API, BootstrappedSubscription, bootstrap
from llmops.platforms.azure.bootstrap_github import ISSUER
from llmops.platforms.azure.clients import Clients, explained
from tests.emulated.llmops.azure.conftest import entered
from tests.emulated.llmops.azure.test_policy import ROOT, STACK, as_somebody, put_version
from tests.emulated.llmops.conftest import Kit
from tests.support.azure_twin import LOCATION
from tests.support.clients import client_environ
from tests.support.serving import until
from twins.azure import control

WORKFLOWS = Path(__file__).parents[4] / "docs/how-to/github/azure"
PULL_REQUEST, MAIN, BRANCH = (
    "repo:acme/ci:pull_request",
    "repo:acme/ci:ref:refs/heads/main",
    "repo:acme/ci:ref:refs/heads/x",
)
OWNER = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
ACR_PULL = "7f951dda-4ed3-4680-a7ca-43fe172d538d"


@pytest.fixture(scope="module")
def environ(twin: Path) -> dict[str, str]:
    """Of the twin's clients, with the engine."""
    return client_environ(control.environment(twin))


@pytest.fixture(scope="module")
def made(twin: Path) -> BootstrappedSubscription:
    with entered(twin):
        return bootstrap(Clients(), "llmops", lambda _: None, github="acme/ci")


def sign_in(clients: Clients, client: str, subject: str) -> None:
    """As azure/login does, with a token as GitHub gives one to a workflow (the twin makes it)."""
    until_then, audience = time.time() + 300, "api://AzureADTokenExchange"
    claims = {"iss": ISSUER, "aud": audience, "sub": subject, "exp": until_then}
    form = {
        "grant_type": "client_credentials",
        "client_id": client,
        "scope": "https://management.azure.com/.default",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": given.admin("POST", "web-identities", claims)["token"],
    }
    url = f"{clients.twin}/{clients.caller.tenant}/oauth2/v2.0/token"
    with urllib.request.urlopen(
        url, urllib.parse.urlencode(form).encode(), timeout=30, context=ssl.create_default_context()
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
    ],
)
def test_no_other_workflow_is_an_identity(
    made: BootstrappedSubscription, clients: Clients, kind: str, subject: str, may: bool
) -> None:
    if may:
        sign_in(clients, made.client_ids[kind], subject)
        return
    with pytest.raises(urllib.error.HTTPError) as refused:
        sign_in(clients, made.client_ids[kind], subject)
    refused.value.close()
    assert refused.value.code == 401


def identity(clients: Clients, made: BootstrappedSubscription, kind: str) -> dict[str, str]:
    """Variables with which a process is one of the identities."""
    properties = clients.arm.get(made.roles[kind], IDENTITY_API)["properties"]
    variables = given.admin("POST", "headers", {"object_id": properties["principalId"]})
    # The stand-in plugin takes the same identity from the same place.
    client = {"AZURE_CLIENT_ID": properties["clientId"], "ARM_CLIENT_ID": properties["clientId"]}
    return {**variables, **client, "ARM_USE_MSI": "true", "ARM_CLIENT_SECRET": ""}


def test_bootstrap_for_github_is_repeated_without_a_change(made: BootstrappedSubscription, clients: Clients) -> None:
    again = bootstrap(clients, "llmops", lambda _: None, github="acme/ci")
    assert {row["state"] for row in again.rows} == {"is there"}
    assert again.client_ids == made.client_ids
    credential = f"{made.roles['deploy']}/federatedIdentityCredentials/branch"
    properties = clients.arm.get(credential, IDENTITY_API)["properties"]
    opened = {**properties, "subject": "repo:acme/ci:ref:refs/heads/x"}
    clients.arm.put(credential, {"properties": opened}, IDENTITY_API)
    changed = [row["state"] for row in bootstrap(clients, "llmops", lambda _: None, github="acme/ci").rows]
    assert [state for state in changed if state.startswith("changed")] == [
        f"changed: repo:acme/ci:ref:refs/heads/x -> {MAIN}"
    ]


def test_the_deploy_identity_gives_no_other_roles_than_the_kits(
    made: BootstrappedSubscription, clients: Clients
) -> None:
    deploy, somebody = identity(clients, made, "deploy"), given.application("somebody")[1]
    with mock.patch.dict(os.environ, deploy):
        other = Clients()
        until(lambda: _gives(other, somebody, ACR_PULL))
        with pytest.raises(KitError, match="may not"):
            _give(other, somebody, OWNER)


def test_the_preview_identity_changes_nothing(made: BootstrappedSubscription, clients: Clients) -> None:
    with mock.patch.dict(os.environ, identity(clients, made, "preview")):
        other = Clients()
        until(lambda: _reads(other, made))
        with pytest.raises(KitError, match="may not"):
            other.arm.put(f"{made.names.scope}/resourceGroups/theirs", {"location": LOCATION}, GROUP_API)
        account = other.arm.get(made.names.account_id, STORAGE_API)["properties"]["primaryEndpoints"]["blob"]
        with pytest.raises(KitError, match="may not"), explained("states"):
            other.blobs(account.rstrip("/")).get_blob_client("states", "theirs").upload_blob(b"")


def _reads(clients: Clients, made: BootstrappedSubscription) -> bool:
    try:
        return clients.arm.find(made.names.account_id, STORAGE_API) is not None
    except KitError:
        return False  # a role takes its time


def _gives(clients: Clients, principal: str, role: str) -> bool:
    try:
        _give(clients, principal, role)
    except KitError as e:
        if "may not" not in e.what:
            raise
        return False
    return True


def _give(clients: Clients, principal: str, role: str) -> None:
    properties = {"principalId": principal, "roleDefinitionId": f"{ROOT}/roleDefinitions/{role}"}
    clients.arm.put(f"{ROOT}/roleAssignments/{uuid.uuid4()}", {"properties": properties}, "2022-04-01")


class Workflow:
    """A file of docs/how-to/github/azure: its commands as a runner starts them, with the identities that it takes."""

    def __init__(self, name: str, kit: Kit, made: BootstrappedSubscription, summary: Path) -> None:
        self.document = YAML(typ="safe", pure=True).load(WORKFLOWS / name)
        self._kit, self._made, self._summary = kit, made, summary
        (self._steps,) = (job["steps"] for job in self.document["jobs"].values())

    @property
    def identity(self) -> str:
        """preview or deploy."""
        (taken,) = (s["with"]["client-id"] for s in self._steps if "azure/login" in s.get("uses", ""))
        assert self.document["env"]["ARM_CLIENT_ID"] == taken
        return {"${{ vars.LLMOPS_PREVIEW_CLIENT }}": "preview", "${{ vars.LLMOPS_DEPLOY_CLIENT }}": "deploy"}[taken]

    def run(self, environ: dict[str, str], code: int = 0) -> str:
        """Run the commands; what they printed."""
        script = "\n".join(s["run"] for s in self._steps if "run" in s and s["name"] != "Set up")
        given = {"PULUMI_STACK": "ci", "PULUMI_BACKEND_URL": self._made.backend}
        assert given.keys() <= self.document["env"].keys()
        done = subprocess.run(
            ["bash", "-e", "-c", script],
            cwd=self._kit.folder,
            env=environ | given | {"GITHUB_STEP_SUMMARY": str(self._summary)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == code, done.stdout
        return done.stdout


def test_the_workflows_run_as_the_identities_that_they_take(
    kit: Kit, environ: dict[str, str], clients: Clients, made: BootstrappedSubscription, tmp_path: Path
) -> None:
    (kit.folder / "Pulumi.ci.yaml").write_text(STACK)
    (kit.folder / ".venv").symlink_to(sys.prefix)
    preview, deploy, drift = (
        Workflow(f"{name}.yml", kit, made, tmp_path / "summary.md") for name in ("preview", "deploy", "drift")
    )
    assert (preview.identity, deploy.identity, drift.identity) == ("preview", "deploy", "preview")
    root = environ | {"PULUMI_HOME": kit.environ["PULUMI_HOME"]}
    reads, deploys = (root | identity(clients, made, kind) for kind in ("preview", "deploy"))

    deploy.run(deploys)
    kit.environ = root | {"PULUMI_BACKEND_URL": made.backend, "PULUMI_STACK": "ci"}
    put_version(kit.environ, kit, tmp_path / "one", "one")
    as_somebody(kit.environ, kit, "promote", "chatbot@1")
    preview.run(reads)
    assert "endpoint chatbot: new -> chatbot@1" in (tmp_path / "summary.md").read_text()
    deploy.run(deploys)
    drift.run(reads)
    kit.environ |= identity(clients, made, "deploy")
    kit.run("down", "--data", "ci")
