"""The AWS CLI, installed apart from the kit, works on a twin with what `llmops twin aws env` prints."""

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmops_kit.core.layout import cache_dir
from llmops_twins.aws import control
from tests.support.clouds.twin_keys import root_environ
from twins.tests.emulated.aws.containers import served
from twins.tests.support.aws import RunningTwin, made_config, made_model, made_role


@pytest.fixture(scope="module")
def aws(borrow: Callable[..., RunningTwin]) -> Callable[..., Any]:
    """Runs the CLI in an environment of its own, kept below the kit's cache, on a twin with a model."""
    twin = borrow()
    twin.client("s3").create_bucket(Bucket="models-of-tests")
    twin.client("s3").put_object(Bucket="models-of-tests", Key="models/1/manifest.json", Body=b"{}")
    made_config(twin, "cli", made_model(twin, "cli", made_role(twin, "cli")))
    environ = {n: v for n, v in os.environ.items() if n in ("PATH", "HOME", "LANG") or n.startswith(("UV_", "SSL_"))}
    environ |= {name: value for name, value in control.environment(twin.home).items() if value is not None}
    environ |= {"UV_CACHE_DIR": str(cache_dir() / "uv"), "AWS_PAGER": ""}
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv") or "uv"
    command = [uv, "tool", "run", "--from", "awscli>=1.40,<2", "aws", "--output", "json"]

    def run(*arguments: str, fails: bool = False, as_text: bool = False, home: Path = twin.home) -> Any:
        own = environ | root_environ(home)
        done = subprocess.run([*command, *arguments], env=own, capture_output=True, text=True)
        assert (done.returncode != 0) == fails, done.stderr
        if fails or as_text:
            return done.stderr or done.stdout
        return json.loads(done.stdout or "null")

    return run


def test_who_calls_and_what_there_is(aws: Callable[..., Any], tmp_path: Path) -> None:
    assert aws("sts", "get-caller-identity")["Arn"] == "arn:aws:iam::000000000000:root"
    (tmp_path / "file").write_bytes(b"content" * 100_000)
    aws("s3", "cp", "--quiet", str(tmp_path / "file"), "s3://models-of-tests/copied")
    listed = aws("s3api", "list-objects-v2", "--bucket", "models-of-tests", "--prefix", "copied")
    assert listed["Contents"][0]["Size"] == 700_000


def test_an_endpoint_by_command(aws: Callable[..., Any]) -> None:
    aws("sagemaker", "create-endpoint", "--endpoint-name", "cli", "--endpoint-config-name", "cli")
    found: dict[str, Any] = {"EndpointStatus": "Creating"}
    while found["EndpointStatus"] == "Creating":
        found = aws("sagemaker", "describe-endpoint", "--endpoint-name", "cli")
    assert found["EndpointStatus"] == "InService"
    told = aws("sagemaker", "describe-endpoint", "--endpoint-name", "no-such", fails=True)
    assert 'Could not find endpoint "arn:aws:sagemaker:us-east-1:000000000000:endpoint/no-such".' in told


def test_an_invocation_by_command(aws: Callable[..., Any], tmp_path: Path) -> None:
    with served(tmp_path / "served") as (twin, container):
        invoke = ["sagemaker-runtime", "invoke-endpoint", "--endpoint-url", twin.url, "--content-type", "text/plain"]
        answer = tmp_path / "answer"
        told = aws(*invoke, "--endpoint-name", "chat", "--body", "hello", str(answer), home=twin.twin.home)
        assert answer.read_text() == "hello"
        assert told["InvokedProductionVariant"] == "main"
        assert container.requests[0]["content-type"] == "text/plain"
        missing = [*invoke, "--endpoint-name", "no-such", "--body", "x", str(answer)]
        assert "no-such" in aws(*missing, fails=True, home=twin.twin.home)


def test_a_password_for_docker_by_command(aws: Callable[..., Any]) -> None:
    password = aws("ecr", "get-login-password", as_text=True).strip()
    (given,) = aws("ecr", "get-authorization-token")["authorizationData"]
    assert given["proxyEndpoint"].startswith("http://127.0.0.1:")
    user, _, token = base64.b64decode(given["authorizationToken"]).decode().partition(":")
    assert user == "AWS"
    assert len(password) == len(token) > 20
