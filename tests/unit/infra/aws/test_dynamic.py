"""The other dynamic resources against moto, and what all of them have in common."""

import subprocess
import sys
import threading

import boto3
import dill
import pytest

from llmops_kit.clouds.aws.location import AwsLocation
from llmops_kit.clouds.aws.session import client, find_session
from llmops_kit.core.errors import KitError
from llmops_kit.infra.targets.aws.providers import account, live, preparation, quiet_alarms, scheduled_spec
from llmops_kit.infra.targets.dynamic import KitProvider, Properties
from tests.unit.infra.aws.conftest import ACCOUNT, REGION
from tests.unit.infra.aws.endpoints import (
    BUCKET,
    LIVE,
    NAME,
    PLACE,
    PREPARATION,
    compared,
    exists,
    known,
    make_endpoint,
)

pytestmark = pytest.mark.usefixtures("moto_account")

PROVIDERS = [
    account.AwsAccountProvider,
    preparation.AwsPreparationProvider,
    quiet_alarms.QuietProvider,
    live.AwsLiveProvider,
    scheduled_spec.AwsScheduledSpecProvider,
]
QUIET = {**PLACE, "endpoint": NAME, "configuration": "new", "alarms": ["chat-5xx", "chat-quality"], "window": 300}


def set_alarm(name: str, state: str) -> None:
    cloudwatch = boto3.client("cloudwatch", region_name=REGION)
    cloudwatch.put_metric_alarm(AlarmName=name, EvaluationPeriods=1, ComparisonOperator="GreaterThanThreshold")
    cloudwatch.set_alarm_state(AlarmName=name, StateValue=state, StateReason="a test")


def test_an_update_waits_until_no_alarm_rings_any_more(capsys: pytest.CaptureFixture[str]) -> None:
    provider = quiet_alarms.QuietProvider()
    set_alarm("chat-quality", "OK")
    set_alarm("other", "ALARM")
    assert provider.create(QUIET).id == NAME
    assert not provider.diff("", QUIET, QUIET).changes
    assert provider.diff("", QUIET | {"configuration": "old"}, QUIET).changes
    set_alarm("chat-5xx", "ALARM")
    timer = threading.Timer(0.3, set_alarm, ["chat-5xx", "OK"])
    timer.start()
    provider.update("", QUIET | {"configuration": "old"}, QUIET)
    timer.join()
    assert f"endpoint {NAME}: waiting until alarm chat-5xx is no longer in ALARM" in capsys.readouterr().out


def test_an_alarm_that_rings_on_is_named_before_the_endpoint_is_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quiet_alarms, "_MARGIN_SECONDS", 0.05)
    set_alarm("chat-quality", "ALARM")
    with pytest.raises(KitError, match="alarm chat-quality is in ALARM, so SageMaker would roll any update back"):
        quiet_alarms.QuietProvider().update("", QUIET, QUIET | {"window": 0})


def test_another_attempt_to_deploy_a_configuration_waits_for_the_alarm_that_undid_the_first() -> None:
    provider = quiet_alarms.QuietProvider()
    set_alarm("chat-quality", "ALARM")
    assert not provider.diff("", QUIET, QUIET).changes, "there is no endpoint that could be updated"
    make_endpoint()
    assert provider.diff("", QUIET, QUIET).changes
    served = QUIET | {"configuration": "old"}
    assert not provider.diff("", served, served).changes, "it serves what is declared"
    set_alarm("chat-quality", "OK")
    assert not provider.diff("", QUIET, QUIET).changes


def test_a_schedules_spec_is_kept_and_goes_with_it(store: None) -> None:
    provider, s3 = scheduled_spec.AwsScheduledSpecProvider(), boto3.client("s3", region_name=REGION)
    first = {**PLACE, "bucket": BUCKET, "key": "schedules/w/a/run.json", "content": "{}"}
    second = first | {"key": "schedules/w/b/run.json"}
    provider.create(first)
    assert provider.update("", first, second).outs == second
    assert [o["Key"] for o in s3.list_objects_v2(Bucket=BUCKET)["Contents"]] == [second["key"]]
    provider.delete("", second)
    assert "Contents" not in s3.list_objects_v2(Bucket=BUCKET)
    provider.delete("", second | {"bucket": "gone"})


TWIN = PLACE | {"account": "000000000000"}


def test_a_stack_never_moves_to_another_account_or_twin() -> None:
    provider = account.AwsAccountProvider()
    assert provider.create(PLACE).id == ACCOUNT
    assert not provider.diff("", PLACE, PLACE).changes
    assert provider.diff("", PLACE, PLACE | {"profile": "other"}).changes
    for olds, news in ((PLACE, TWIN), (TWIN, PLACE), (PLACE, PLACE | {"region": "eu-west-1"})):
        with pytest.raises(KitError, match="this stack lives in"):
            provider.diff("", olds, news)


@pytest.mark.parametrize(
    ("props", "url", "words"),
    [
        (TWIN, "", "lives on a twin, but AWS clients of this shell talk to AWS"),
        (PLACE, "http://127.0.0.1:1", "AWS clients of this shell talk to a twin"),
        (PLACE | {"account": "210987654321"}, "", "these credentials are of 123456789012"),
    ],
)
def test_no_provider_touches_another_account(
    props: Properties, url: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_endpoint()
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    for call in (
        lambda: account.AwsAccountProvider().read("id", props),
        lambda: PREPARATION.delete("id", known() | props),
        lambda: LIVE.read("id", compared() | props),
        lambda: client("s3", AwsLocation.of(props)),
    ):
        with pytest.raises(KitError, match=words):
            call()
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    assert exists()


def test_who_this_is_and_where(monkeypatch: pytest.MonkeyPatch) -> None:
    caller = find_session("", "").caller
    assert (caller.account, caller.region, caller.partition, caller.twin) == (ACCOUNT, REGION, "aws", "")
    assert find_session("cn-north-1", "").caller.region == "cn-north-1"
    monkeypatch.setenv("AWS_REGION", "")
    with pytest.raises(KitError, match="no AWS region") as refused:
        _ = find_session("", "").caller
    assert "AWS_REGION" in refused.value.fix
    with pytest.raises(KitError, match="no-such"):
        find_session(REGION, "no-such")


@pytest.mark.parametrize("kind", PROVIDERS)
def test_providers_are_pickled_by_reference_and_readable_in_the_state(kind: type[KitProvider]) -> None:
    assert len(dill.dumps(kind(), recurse=True)) < 200
    assert kind.serialize_as_secret_always is False


def test_modules_of_the_providers_process_are_light() -> None:
    """Each command of the engine starts that process: what it imports is waited for."""
    names = ", ".join(
        f"llmops_kit.infra.targets.aws.providers.{m}"
        for m in ("account", "preparation", "quiet_alarms", "live", "scheduled_spec")
    )
    code = f"import sys, {names}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"pydantic", "ruamel", "pulumi_aws", "boto3", "botocore", "cryptography"} & set(loaded)
