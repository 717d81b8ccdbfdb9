"""What the real engine and the stand-in plugin do together, beyond the life of each type."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from llmops_kit.core.twins import TWIN_ACCOUNT
from llmops_twins.plugins.aws.session import open_session
from llmops_twins.plugins.plugin import ProviderError
from tests.support.clouds.twin_keys import asked, root_environ
from tools.sdk_shapes import aws as sdk_properties
from twins.tests.emulated.plugins import programs

MakeProgram = Callable[..., Any]
SOME_KEYS = {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "secret"}


@pytest.fixture
def fault(home: Path, twin: str) -> Iterator[Callable[..., None]]:
    """Lets something go wrong on the twin until the test ends."""

    def put(**told: Any) -> None:
        _ask(home, "PUT", "faults", told)

    yield put
    _ask(home, "DELETE", "faults", {})


@pytest.mark.filterwarnings("ignore::DeprecationWarning:pulumi_aws")  # of its own modules, as they are imported
def test_the_installed_sdk_has_these_properties() -> None:
    written = (sdk_properties.FOLDER / "properties.json").read_text()
    assert sdk_properties.text(sdk_properties.all_properties()) == written


def test_a_preview_knows_what_it_can_and_makes_nothing(make_program: MakeProgram) -> None:
    program = make_program(programs.ENDPOINT)
    output = program.pulumi("preview", "--json")
    steps = {s["urn"].rpartition("::")[2]: s for s in json.loads(output[output.index("{") :])["steps"]}
    assert steps["endpoint"]["op"] == "create"
    endpoint, model = steps["endpoint"]["newState"], steps["model"]["newState"]
    assert endpoint["inputs"]["tagsAll"] == {"team": "models"}
    assert endpoint["inputs"]["endpointConfigName"] == steps["configuration"]["newState"]["inputs"]["name"]
    assert "executionRoleArn" not in model["inputs"] or not model["inputs"]["executionRoleArn"].startswith("arn:")
    assert "arn" not in endpoint.get("outputs", {}) or not endpoint["outputs"]["arn"].startswith("arn:")
    assert not program.client("sagemaker").list_models(NameContains="model-")["Models"]


def test_what_exists_is_imported(make_program: MakeProgram) -> None:
    first = make_program(programs.TAKEN.format(imported=False, key="", topic=""))
    first.up()
    made = first.resources()
    text = programs.TAKEN.format(imported=True, key=made["key"]["id"], topic=made["topic"]["id"])
    second = make_program(text, "second", stack="two")
    second.up()
    assert {n: r["id"] for n, r in second.resources().items()} == {n: r["id"] for n, r in made.items()}
    assert second.changes() == {}
    second.pulumi("destroy", "--yes", "--skip-preview")
    first.pulumi("refresh", "--yes", "--skip-preview")
    assert first.resources() == {}


def test_an_endpoint_that_fails_is_not_in_the_state(make_program: MakeProgram, fault: Callable[..., None]) -> None:
    program = make_program(programs.ENDPOINT)
    fault(kind="capacity", instance_type="ml.g5.xlarge")
    output = program.up(refused=True)
    assert "unexpected state 'Failed', wanted target 'InService'" in output
    assert "urn:pulumi:one::parts::aws:sagemaker/endpoint:Endpoint::endpoint" in output
    assert "endpoint" not in program.resources()
    assert {"model", "configuration"} <= set(program.resources())
    sagemaker = program.client("sagemaker")
    assert sagemaker.describe_endpoint(EndpointName="chatbot")["EndpointStatus"] == "Failed"
    sagemaker.delete_endpoint(EndpointName="chatbot")
    _ask(program.home, "DELETE", "faults", {})
    program.up()
    assert program.resources()["endpoint"]["id"] == "chatbot"


def test_an_interrupted_update_goes_on(make_program: MakeProgram, home: Path) -> None:
    program = make_program(programs.ENDPOINT)
    sagemaker = program.client("sagemaker")
    pace = json.loads(_ask(home, "GET", "settings"))["pace"]
    _ask(home, "PUT", "settings", {"pace": 60})
    try:
        process = program.start("up", "--yes", "--skip-preview")
        _until(lambda: bool(sagemaker.list_endpoints(NameContains="chatbot")["Endpoints"]))
        os.kill(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    finally:
        _ask(home, "PUT", "settings", {"pace": pace})
    assert process.returncode != 0
    assert "context canceled" in output
    resources = program.resources()
    assert "configuration" in resources
    assert "endpoint" not in resources
    _until(lambda: _gone(sagemaker, "chatbot"))
    program.up()
    assert program.changes() == {}
    assert program.resources()["endpoint"]["id"] == "chatbot"


def test_what_was_half_made_is_kept_and_mended(make_program: MakeProgram) -> None:
    text = """
    aws.budgets.Budget(
        "budget", budget_type="COST", limit_amount="1", limit_unit="USD", time_unit="MONTHLY",
        notifications=[{{
            "comparison_operator": "GREATER_THAN", "notification_type": "ACTUAL", "threshold": 1,
            "threshold_type": "PERCENTAGE", {subscribers}
        }}],
        opts=own,
    )
    """
    program = make_program(text.format(subscribers=""))
    assert "must have at least one subscriber" in program.up(refused=True)
    made = program.resources()["budget"]
    program.up(text.format(subscribers="'subscriber_email_addresses': ['models@example.com']"))
    assert program.resources()["budget"]["id"] == made["id"]


def test_secrets_stay_secret(make_program: MakeProgram) -> None:
    program = make_program("""
    hidden = pulumi.Output.secret("open sesame")
    aws.sns.Topic("topic", display_name=hidden, tags={"word": hidden}, opts=own)
    """)
    program.up()
    program.pulumi("refresh", "--yes", "--skip-preview")
    assert program.changes() == {}
    assert "open sesame" not in program.pulumi("stack", "export")
    attributes = program.client("sns").get_topic_attributes(TopicArn=program.resources()["topic"]["id"])["Attributes"]
    assert attributes["DisplayName"] == "open sesame"


def test_the_function_that_the_kit_calls(make_program: MakeProgram) -> None:
    program = make_program(programs.FUNCTIONS)
    program.up()
    told = json.loads(program.pulumi("stack", "output", "--json"))
    assert told["pem"].startswith("-----BEGIN PUBLIC KEY-----\n")


def test_calls_are_made_with_the_callers_own_credentials(make_program: MakeProgram) -> None:
    program = make_program('key = aws.kms.Key("key", opts=own)\npulumi.export("policy", key.policy)')
    iam = program.client("iam")
    iam.create_user(UserName="deployer")
    keys = iam.create_access_key(UserName="deployer")["AccessKey"]
    program.environ |= {"AWS_ACCESS_KEY_ID": keys["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": keys["SecretAccessKey"]}
    program.up()
    iam.delete_access_key(UserName="deployer", AccessKeyId=keys["AccessKeyId"])
    assert "validating provider credentials" in program.pulumi("destroy", "--yes", "--skip-preview", refused=True)


def test_throttled_calls_are_made_again(make_program: MakeProgram, fault: Callable[..., None]) -> None:
    program = make_program('aws.sns.Topic("topic", opts=own)')
    fault(kind="throttle", service="sns", operation="CreateTopic", times=2)
    program.up()


def test_as_an_executable_plugin(make_program: MakeProgram, tmp_path: Path) -> None:
    program = make_program('aws.sns.Topic("topic", opts=own)')
    program.start_plugin_itself(tmp_path / "bin")
    program.up()
    mark = str(tmp_path)
    assert not [p for p in psutil.process_iter() if "llmops_twins.plugins.aws" in _words(p) and mark in _environ(p)]


def test_a_second_account_and_addresses_elsewhere_are_refused(make_program: MakeProgram, twin: str, home: Path) -> None:
    program = make_program('aws.sns.Topic("topic", opts=own)')
    program.head = program.head.replace(TWIN_ACCOUNT, "111111111111")
    output = program.up('aws.sns.Topic("topic", opts=own)', refused=True)
    assert f"AWS account ID not allowed: {TWIN_ACCOUNT}" in output
    assert program.resources() == {}
    for config, wrong in (
        ({"endpoints": json.dumps([{"s3": "https://s3.eu-central-1.amazonaws.com"}])}, "is not on this machine"),
        ({"profile": "production"}, "a twin has no profile"),
        ({"assumeRoles": json.dumps([{"roleArn": "arn:aws:iam::1:role/x"}])}, "a twin has no assumeRoles"),
        ({"forbiddenAccountIds": json.dumps([TWIN_ACCOUNT])}, "AWS account ID not allowed"),
        ({"accessKey": "AKIAELSEWHERE", "secretKey": "secret"}, "validating provider credentials"),
    ):
        with pytest.raises(ProviderError, match=wrong):
            open_session({"region": "eu-central-1", **config}, twin, root_environ(home))
    with pytest.raises(ProviderError, match="is not on this machine"):
        open_session({"region": "eu-central-1"}, "", {"AWS_ENDPOINT_URL": "https://example.com"})
    with pytest.raises(ProviderError, match="no address of a twin"):
        open_session({"region": "eu-central-1"}, "", {})


def test_only_a_twins_account_is_served() -> None:
    # In a process of its own: other tests' twins have changed the moto of this one.
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
        try:
            assert server.stdout
            url = next(line.split()[-1] for line in server.stdout if "Running on" in line)
            with pytest.raises(ProviderError, match="is not a twin's"):
                open_session({"region": "eu-central-1"}, url, SOME_KEYS)
        finally:
            server.kill()


def _ask(home: Path, method: str, route: str, document: dict[str, Any] | None = None) -> bytes:
    data = json.dumps(document).encode() if document is not None else None
    url = json.loads((home / "twin.json").read_text())["url"]
    with urllib.request.urlopen(asked(home, url, route, method, data)) as response:
        return response.read()


def _until(look: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.1)


def _gone(sagemaker: Any, name: str) -> bool:
    """Delete an endpoint as soon as it may be."""
    found = sagemaker.list_endpoints(NameContains=name)["Endpoints"]
    if found and found[0]["EndpointStatus"] in ("InService", "Failed"):
        sagemaker.delete_endpoint(EndpointName=name)
    return not found


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _environ(process: psutil.Process) -> str:
    try:
        return str(process.environ())
    except psutil.Error:
        return ""
