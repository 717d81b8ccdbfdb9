"""`llmops twin aws …` as a user types it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from llmops_kit.cli.stacks.backend import folder_of
from tests.emulated.cli.conftest import Kit

_WHO = "import boto3; print(boto3.client('sts').get_caller_identity()['Account'])"


@pytest.fixture
def twin(kit: Kit) -> Kit:
    kit.environ |= {"AWS_PROFILE": "planted", "AWS_SESSION_TOKEN": "planted", "AWS_ENDPOINT_URL_S3": "http://10.0.0.1"}
    return kit


def shell(kit: Kit, command: str) -> str:
    """What a POSIX shell prints that has taken the twin's environment."""
    llmops = f"{sys.executable} -m llmops_kit.cli"
    return subprocess.run(
        ["sh", "-euc", f'eval "$({llmops} twin aws env)"\n{command}'],
        cwd=kit.folder,
        env=kit.environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


def test_a_twin_is_started_used_emptied_and_stopped(twin: Kit, tmp_path: Path) -> None:
    assert "is not running; `llmops twin aws up` starts it" in twin.run("twin", "aws", "status", code=1)
    assert f"twins aws up --home {tmp_path}" in twin.run("twin", "aws", "env", code=1)
    up = twin.json("twin", "aws", "up", "--pace", "0.05")
    try:
        assert up["home"] == str(tmp_path / ".llmops/twins/aws")
        assert "twin runs on" in twin.run("twin", "aws", "up", "--judge", "off")
        status = twin.json("twin", "aws", "status")
        assert (status["runs"], status["judge"], status["url"]) == (True, "off", up["url"])
        assert "not judged" in twin.run("twin", "aws", "status")
        assert shell(
            twin, f'{sys.executable} -c "{_WHO}"; echo "${{AWS_PROFILE-none}} ${{AWS_ENDPOINT_URL_S3-none}}"'
        ) == ("000000000000\nnone none")
        values = twin.json("twin", "aws", "env")
        assert values["AWS_PROFILE"] is None
        assert values["AWS_ENDPOINT_URL"] == up["url"]
        state = folder_of(values["PULUMI_BACKEND_URL"])
        (state / ".pulumi").mkdir()
        make = "import boto3; boto3.client('s3').create_bucket(Bucket='there')"
        count = "import boto3; print(len(boto3.client('s3').list_buckets()['Buckets']))"
        assert shell(twin, f'{sys.executable} -c "{make}"; {sys.executable} -c "{count}"') == "1"
        assert "is empty" in twin.run("twin", "aws", "reset")
        assert shell(twin, f'{sys.executable} -c "{count}"') == "0"
        assert not (state / ".pulumi").exists()
    finally:
        twin.run("twin", "aws", "down")
    assert twin.json("twin", "aws", "down")["ran"] is False
    assert json.loads(twin.run("twin", "aws", "status", "--json", code=1))["runs"] is False


def test_outside_of_a_project_a_home_is_asked_for(twin: Kit, tmp_path: Path) -> None:
    (tmp_path / "Pulumi.yaml").unlink()
    assert "--home FOLDER" in twin.run("twin", "aws", "status", code=1)
    status = json.loads(twin.run("twin", "aws", "status", "--home", "elsewhere", "--json", code=1))
    assert (status["home"], status["runs"]) == (str(tmp_path / "elsewhere"), False)
