"""State in blobs, and two `up` at once: the real engine on a twin."""

import json
import os
import re
import signal
import socket
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from azure.storage.blob import ContainerClient

from llmops_kit.cli.platforms.azure.bootstrap.names import AzureBootstrapNames
from llmops_kit.clouds.azure.session import AzureSession
from llmops_kit.core.twins import owner_headers
from llmops_twins.azure import control
from tests.emulated.cli.conftest import Kit, dead_pid, wait_until
from tests.support.clients import client_environ

BACKEND = "PULUMI_BACKEND_URL"
BLOBS = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"
# A program of no resources, so that what is tested is the engine's own work.
PROGRAM = """\
import time
from pathlib import Path

import pulumi

while Path("wait").exists():
    time.sleep(0.05)
outputs = {{
    "schema": "stack-outputs/1", "target": "azure", "stack": pulumi.get_stack(), "project": "",
    "store": {{"url": "https://localhost/store"}}, "signing": {{"private_key": "azurekeyvault://k", "public_key": "P"}},
    "training": {{"image": "", "runs": "https://localhost/work/runs"}},
    "azure": {{"subscription": "{subscription}", "tenant": "{tenant}", "location": "westeurope", "twin": True,
        "resource_group": "g", "workspace": "w"}},
}}
for name, value in outputs.items():
    pulumi.export(name, value)
pulumi.export("secret", pulumi.Output.secret("sesame-open"))
"""


@pytest.fixture(scope="module")
def environ(twin: Path) -> dict[str, str]:
    """Of the twin's clients, with the engine."""
    return client_environ(control.environment(twin))


@pytest.fixture
def in_folder(kit: Kit, environ: dict[str, str], session: AzureSession) -> Kit:
    """A project with a stack `dev` of target azure on the twin."""
    kit.environ = environ | {"PULUMI_HOME": kit.environ["PULUMI_HOME"]}
    (kit.folder / "__main__.py").write_text(
        PROGRAM.format(subscription=session.subscription, tenant=session.caller.tenant)
    )
    (kit.folder / "Pulumi.dev.yaml").write_text("config:\n  llmops:target: azure\n")
    return kit


@pytest.fixture(scope="module")
def bootstrapped() -> list[str]:
    """The place of states, once bootstrap has printed it."""
    return []


@pytest.fixture
def in_blobs(in_folder: Kit, session: AzureSession, bootstrapped: list[str]) -> Iterator[Kit]:
    """The same, its state in the container that bootstrap made: as its text says."""
    if not bootstrapped:
        text = in_folder.run("bootstrap", "azure")
        assert "a passphrase protects secrets there" in text
        found = re.search(r"export PULUMI_BACKEND_URL='(azblob://states\?[^']+)'", text)
        assert found
        bootstrapped.append(found[1])
    in_folder.environ[BACKEND] = bootstrapped[0]
    yield in_folder
    container = blobs(session)
    for name in list(container.list_blob_names()):
        container.delete_blob(name)


def blobs(session: AzureSession) -> ContainerClient:
    """The container of states, at its account's own host."""
    names = AzureBootstrapNames("llmops", session.subscription)
    account = session.arm.get(names.account_id)["properties"]["primaryEndpoints"]["blob"]
    return session.blobs(account.rstrip("/")).get_container_client("states")


def test_a_new_stack_keeps_its_state_in_blobs_and_its_secrets_encrypted(in_blobs: Kit, session: AzureSession) -> None:
    """What bootstrap prints is what the next commands take."""
    in_blobs.run("up")
    names = list(blobs(session).list_blob_names())
    (state,) = [name for name in names if name.endswith("stacks/llmops/dev.json")]
    text = blobs(session).download_blob(state).readall().decode()
    assert "sesame-open" not in text
    assert json.loads(text)["checkpoint"]["latest"]["secrets_providers"]["type"] == "passphrase"
    assert not [name for name in names if "/locks/" in name]
    assert in_blobs.json("status")["endpoints"] == []
    made = in_blobs.json("bootstrap", "azure")
    assert (made["backend"], made["secrets_provider"]) == (in_blobs.environ[BACKEND], "")
    assert (made["boundary"], made["roles"]) == ("", {})


@pytest.mark.scorecard("concurrent-up", "interrupted-up")
@pytest.mark.parametrize("place", [pytest.param("folder", marks=pytest.mark.long), "blobs"])
def test_of_two_updates_the_second_is_refused_and_after_a_killed_one_it_goes_on(
    place: str, request: pytest.FixtureRequest
) -> None:
    kit: Kit = request.getfixturevalue(f"in_{place}")
    stack = f"two-{place}"
    (kit.folder / f"Pulumi.{stack}.yaml").write_text("config:\n  llmops:target: azure\n")
    (kit.folder / "wait").touch()
    first = kit.start("up", "--stack", stack)
    wait_until(lambda: engines(stack))
    wait_until(lambda: "is being changed by process" in kit.run("up", "--stack", stack, code=1))
    first.kill()
    for engine in engines(stack):
        os.kill(engine.pid, signal.SIGKILL)
    first.communicate(timeout=60)
    (kit.folder / "wait").unlink()
    assert f"`pulumi cancel --stack {stack}` frees the stack" in kit.run("up", "--stack", stack, code=1)
    kit.cancel(stack)
    kit.run("up", "--stack", stack)


@pytest.mark.long  # on AWS, `make test` shows the same
@pytest.mark.vulnerability(6)
def test_vulnerability_6_a_lock_in_the_blobs_that_nobody_here_took_is_refused(
    in_blobs: Kit, session: AzureSession
) -> None:
    """It has this host's name and a number that no process here has: another container of the name holds it."""
    name = f".pulumi/locks/organization/llmops/dev/{uuid.uuid4()}.json"
    in_blobs.run("up")
    lock = {"pid": dead_pid(), "username": "u", "hostname": socket.gethostname(), "timestamp": "2026-11-01T10:00:00Z"}
    blobs(session).upload_blob(name, json.dumps(lock).encode())
    refused = in_blobs.run("up", code=1)
    assert f"process {lock['pid']} of u on {socket.gethostname()} since 2026-11-01 10:00:00 UTC" in refused
    assert "`pulumi cancel --stack dev`" in refused
    blobs(session).upload_blob(name, b"{", overwrite=True)
    refused = in_blobs.run("up", code=1)
    assert "this is not a lock of Pulumi's" in refused
    assert name in refused
    blobs(session).delete_blob(name)
    in_blobs.run("up")


def test_a_state_that_can_not_be_written_is_told_with_the_way_out(in_blobs: Kit, session: AzureSession) -> None:
    """The engine itself ends in a panic of Go."""
    entry = json.dumps({"principal": session.caller.object_id, "action": f"{BLOBS}/write"}).encode()
    deny(session, "PUT", entry)
    try:
        refused = in_blobs.run("up", code=1)
    finally:
        deny(session, "DELETE", entry)
    assert "the stack's state can't be written" in refused
    assert in_blobs.environ[BACKEND] in refused
    assert "Storage Blob Data Contributor" in refused
    assert ".go:" not in refused
    in_blobs.run("up")


def deny(session: AzureSession, method: str, entry: bytes) -> None:
    """Let the twin refuse a principal an action, or no more."""
    headers = owner_headers("azure", os.environ)
    request = urllib.request.Request(f"{session.twin}/_twin/denials", entry, headers, method=method)
    with urllib.request.urlopen(request, timeout=60):
        pass


def engines(stack: str) -> list[psutil.Process]:
    """Engines at work on `up` of a stack."""
    found = []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
            if len(words) > 1 and words[0].endswith("pulumi") and words[1] == "up" and stack in words:
                found.append(process)
        except psutil.Error:
            continue
    return found
