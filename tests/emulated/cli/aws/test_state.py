"""State in a bucket, secrets under a key, and two `up` at once: the real engine on a twin."""

import json
import os
import signal
import socket
import uuid
from collections.abc import Callable, Iterator

import psutil
import pytest

from llmops_kit.cli.platforms.aws.clients import AwsClients
from llmops_kit.core.twins import TWIN_ACCOUNT
from tests.emulated.cli.conftest import PULUMI, Kit, dead_pid, wait_until
from tests.support.clouds.aws import Account

# A program of no resources, so that what is tested is the engine's own work.
PROGRAM = """\
import time
from pathlib import Path

import pulumi

while Path("wait").exists():
    time.sleep(0.05)
outputs = {{
    "schema": "stack-outputs/1", "target": "aws", "stack": pulumi.get_stack(), "project": "",
    "store": {{"url": "s3://store"}}, "signing": {{"private_key": "awskms:///k", "public_key": "PEM"}},
    "training": {{"image": "", "runs": "s3://work/runs"}},
    "aws": {{"account": "{account}", "region": "us-east-1", "twin": True}},
}}
for name, value in outputs.items():
    pulumi.export(name, value)
pulumi.export("secret", pulumi.Output.secret("sesame-open"))
"""


def _prepare(kit: Kit, account: Account, number: str) -> Kit:
    """Makes it a project with a stack `dev` of target aws on the twin."""
    kit.environ = dict(account.environ)
    (kit.folder / "__main__.py").write_text(PROGRAM.format(account=number))
    (kit.folder / "Pulumi.dev.yaml").write_text("config:\n  llmops:target: aws\n")
    return kit


@pytest.fixture
def aws_kit(kit: Kit, account: Account, clients: AwsClients) -> Kit:
    return _prepare(kit, account, clients.caller.account)


@pytest.fixture(scope="module")
def in_bucket(account: Account, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kit]:
    """The same for a module, deployed with its state in the bucket that bootstrap made."""
    folder = tmp_path_factory.mktemp("bucket").resolve()
    (folder / "Pulumi.yaml").write_text(PULUMI)
    kit = _prepare(Kit(folder, {}), account, TWIN_ACCOUNT)
    made = json.loads(kit.run("bootstrap", "aws", "--json").partition("{")[2].join(["{", ""]))
    kit.environ |= {"PULUMI_BACKEND_URL": made["backend"], "PULUMI_STACK": "dev"}
    del kit.environ["PULUMI_CONFIG_PASSPHRASE"]
    kit.run("up")
    yield kit
    s3, bucket = account.client("s3"), made["backend"].removeprefix("s3://").partition("?")[0]
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for entry in page.get("Contents", []):
            s3.delete_object(Bucket=bucket, Key=entry["Key"])


def test_a_new_stack_keeps_its_state_in_the_bucket_and_its_secrets_under_the_key(
    in_bucket: Kit, clients: AwsClients
) -> None:
    bucket = in_bucket.environ["PULUMI_BACKEND_URL"].removeprefix("s3://").partition("?")[0]
    keys = [e["Key"] for e in clients("s3").list_objects_v2(Bucket=bucket)["Contents"]]
    (state,) = [k for k in keys if k.endswith("stacks/llmops/dev.json")]
    text = clients("s3").get_object(Bucket=bucket, Key=state)["Body"].read().decode()
    assert "awskms://alias/llmops-state" in text
    assert "sesame-open" not in text
    assert not [k for k in keys if "/locks/" in k]
    assert "secretsprovider: awskms://" in (in_bucket.folder / "Pulumi.dev.yaml").read_text()
    assert in_bucket.json("status")["endpoints"] == []


@pytest.mark.scorecard("concurrent-up", "interrupted-up")
@pytest.mark.parametrize("place", [pytest.param("folder", marks=pytest.mark.long), "bucket"])
def test_of_two_updates_the_second_is_refused_and_after_a_killed_one_it_goes_on(
    place: str, request: pytest.FixtureRequest
) -> None:
    kit: Kit = request.getfixturevalue("in_bucket" if place == "bucket" else "aws_kit")
    stack = f"two-{place}"
    (kit.folder / f"Pulumi.{stack}.yaml").write_text("config:\n  llmops:target: aws\n")
    (kit.folder / "wait").touch()
    first = kit.start("up", "--stack", stack)
    wait_until(lambda: _engines(kit, stack))
    wait_until(lambda: "is being changed by process" in _refused(kit, stack))
    first.kill()
    for engine in _engines(kit, stack):
        os.kill(engine.pid, signal.SIGKILL)
    first.communicate(timeout=60)
    (kit.folder / "wait").unlink()
    assert f"`pulumi cancel --stack {stack}` frees the stack" in kit.run("up", "--stack", stack, code=1)
    kit.cancel(stack)
    kit.run("up", "--stack", stack)


@pytest.mark.vulnerability(6)
def test_vulnerability_6_a_lock_in_the_bucket_that_nobody_here_took_is_refused(
    in_bucket: Kit, clients: AwsClients
) -> None:
    """It has this host's name and a number that no process here has: another container of the name holds it."""
    bucket, name = in_bucket.environ["PULUMI_BACKEND_URL"].removeprefix("s3://").partition("?")[0], str(uuid.uuid4())
    key = f".pulumi/locks/organization/llmops/dev/{name}.json"
    lock = {"pid": dead_pid(), "username": "u", "hostname": socket.gethostname(), "timestamp": "2026-11-01T10:00:00Z"}
    clients("s3").put_object(Bucket=bucket, Key=key, Body=json.dumps(lock).encode())
    refused = in_bucket.run("up", code=1)
    assert f"process {lock['pid']} of u on {socket.gethostname()} since 2026-11-01 10:00:00 UTC" in refused
    assert "`pulumi cancel --stack dev`" in refused
    clients("s3").put_object(Bucket=bucket, Key=key, Body=json.dumps(lock | {"pid": -1}).encode())
    refused = in_bucket.run("up", code=1)
    assert "this is not a lock of Pulumi's" in refused
    assert name in refused
    clients("s3").delete_object(Bucket=bucket, Key=key)
    in_bucket.run("up")


def _engines(kit: Kit, stack: str) -> list[psutil.Process]:
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


def _refused(kit: Kit, stack: str) -> str:
    """What another `up` says; it is refused from the moment on that the first holds the lock."""
    lock: Callable[[], str] = lambda: kit.run("up", "--stack", stack, code=1)  # noqa: E731
    return lock()


def test_a_stack_file_of_an_account_goes_to_the_twin_as_it_is_whose_state_is_refused_elsewhere(aws_kit: Kit) -> None:
    """What encrypts a stack's secrets on AWS stands in its file, and means nothing on the twin. Its state there is
    refused by a shell that talks to somebody else.
    """
    file = aws_kit.folder / "Pulumi.dev.yaml"
    file.write_text(
        file.read_text() + "secretsprovider: awskms:///alias/none?region=eu-central-1\nencryptedkey: AAAA\n"
    )
    before = file.read_bytes()
    aws_kit.run("up")
    assert "nothing to change" in aws_kit.run("plan")
    assert file.read_bytes() == before
    here = dict(aws_kit.environ)
    aws_kit.environ["AWS_ENDPOINT_URL"] = "http://127.0.0.1:1"
    assert "the twin can't be reached" in aws_kit.run("up", code=1)
    del aws_kit.environ["AWS_ENDPOINT_URL"]
    aws_kit.environ |= {"AWS_ENDPOINT_URL_STS": "http://127.0.0.1:1", "AWS_MAX_ATTEMPTS": "1"}
    assert "AWS can't be reached" in aws_kit.run("up", code=1)
    assert "lives on a twin, but AWS clients of this shell talk to AWS" in aws_kit.run("models", "list", code=1)
    aws_kit.environ = here
    aws_kit.run("down", "--data", "dev")
    assert file.read_bytes() == before
