"""The dynamic resources against moto: what they read, refuse, remove and write."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import boto3
import dill
import pytest
from botocore.awsrequest import AWSResponse
from moto.sagemaker.models import sagemaker_backends

from clouds.aws.location import AwsLocation
from clouds.aws.names import scalable_target
from clouds.aws.session import client, find_session
from contract.errors import KitError
from infra.targets.aws import account, live, preparation, quiet, scheduled_spec
from infra.targets.aws.preparation import IN_STATE
from infra.targets.dynamic import KitProvider, Properties
from tests.unit.infra.aws.conftest import ACCOUNT, REGION, on_moto

NAME = "llmops-demo-chat"
OURS = {"llmops:project": "llmops", "llmops:stack": "demo"}
PLACE = {"account": ACCOUNT, "region": REGION, "profile": ""}
OLD, NEW = "1" * 64, "2" * 64
BUCKET = "the-store"
PROVIDERS = [
    account.AccountProvider,
    preparation.PreparationProvider,
    quiet.QuietProvider,
    live.LiveProvider,
    scheduled_spec.ScheduledSpecProvider,
]


@pytest.fixture(autouse=True)
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(preparation, "_POLL_SECONDS", 0.01)
    monkeypatch.setattr(quiet, "_POLL_SECONDS", 0.01)
    with on_moto(monkeypatch):
        yield


def sagemaker() -> Any:
    return boto3.client("sagemaker", region_name=REGION)


def make_endpoint(status: str = "InService", *, count: int = 1, tags: dict[str, str] | None = None) -> None:
    """An endpoint that serves version OLD by configuration `old`."""
    environment = {"LLMOPS_MODEL_NAME": "chatbot@1", "LLMOPS_MODEL_SHA256": OLD}
    sagemaker().create_model(
        ModelName="old",
        PrimaryContainer={"Image": "i", "Environment": environment},
        ExecutionRoleArn="arn:aws:iam::1:role/r",
    )
    variant = {
        "VariantName": "main",
        "ModelName": "old",
        "InstanceType": "ml.m5.large",
        "InitialInstanceCount": count,
        "InitialVariantWeight": 1.0,
    }
    sagemaker().create_endpoint_config(EndpointConfigName="old", ProductionVariants=[variant])
    listed = [{"Key": k, "Value": v} for k, v in (OURS if tags is None else tags).items()]
    sagemaker().create_endpoint(EndpointName=NAME, EndpointConfigName="old", Tags=listed)
    sagemaker_backends[ACCOUNT][REGION].endpoints[NAME].endpoint_status = status


def exists() -> bool:
    return bool(sagemaker().list_endpoints()["Endpoints"])


def prepared(**other: Any) -> Properties:
    return {
        **PLACE,
        "endpoint": NAME,
        "tags": OURS,
        "model": "m1",
        "content": "c1",
        "instances": 1,
        "max_instances": 0,
        "instance_type": "ml.m5.large",
        "store": BUCKET,
        "alarms": ["a", "b"],
        **other,
    }


def known(**other: Any) -> Properties:
    return prepared(**other) | {"model_number": 1, "number": 1, "initial_instances": 1}


PREPARATION = preparation.PreparationProvider()


def numbers(outs: Properties | None) -> tuple[int, int, int]:
    assert outs
    return outs["model_number"], outs["number"], outs["initial_instances"]


def create(news: Properties) -> Properties | None:
    """As the engine does."""
    return PREPARATION.create(PREPARATION.check({}, news).inputs).outs


def update(olds: Properties, news: Properties) -> Properties | None:
    """As the engine does."""
    return PREPARATION.update("", olds, PREPARATION.check(olds, news).inputs).outs


@pytest.mark.parametrize(("instances", "first"), [(1, 1), (3, 3), (0, 1)])
def test_a_new_endpoint_begins_with_the_declared_count(instances: int, first: int) -> None:
    assert numbers(create(prepared(instances=instances))) == (1, 1, first)


@pytest.mark.parametrize("status", ["Failed", "InService"])
def test_what_an_interrupted_update_left_is_a_change_and_removed(
    status: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make_endpoint(status)
    assert PREPARATION.diff("", known(), prepared()).changes
    update(known(), prepared())
    assert not exists()
    assert f"removing endpoint {NAME}, {status}" in capsys.readouterr().out
    assert not PREPARATION.diff("", known(), prepared()).changes


def test_creation_removes_what_was_left_too() -> None:
    make_endpoint("Failed")
    assert numbers(create(prepared())) == (1, 1, 1)
    assert not exists()


@pytest.mark.parametrize("tags", [{}, {"llmops:project": "llmops", "llmops:stack": "prod"}, OURS | {IN_STATE: "yes"}])
def test_an_endpoint_of_somebody_else_or_of_the_state_stays(tags: dict[str, str]) -> None:
    make_endpoint(tags=tags)
    assert not PREPARATION.diff("", known(), prepared()).changes
    update(known(), prepared(content="c2"))
    assert exists()


def test_the_live_count_is_read_when_the_content_changes_and_never_otherwise() -> None:
    make_endpoint(count=3, tags=OURS | {IN_STATE: "yes"})
    assert numbers(update(known(), prepared(profile=""))) == (1, 1, 1)
    assert numbers(update(known(), prepared(content="c2"))) == (1, 2, 3)
    assert numbers(update(known(), prepared(content="c2", model="m2"))) == (2, 2, 3)
    scaled = {"max_instances": 2}
    assert numbers(update(known(**scaled), prepared(content="c2", **scaled))) == (1, 2, 2)


def test_a_preview_knows_the_numbers() -> None:
    """Numbers are inputs: the engine has them before anything is done."""
    news = PREPARATION.check(known(), prepared(content="c2")).inputs
    assert (news["model_number"], news["number"]) == (1, 2)
    assert PREPARATION.check(news, prepared(content="c2")).inputs == news
    back = PREPARATION.check(news, prepared()).inputs
    assert back["number"] == 3, "a content that comes back gets another name"


def test_a_changed_count_is_obeyed_unless_scaling_sets_it() -> None:
    make_endpoint(count=3, tags=OURS | {IN_STATE: "yes"})
    assert numbers(update(known(), prepared(instances=2))) == (1, 2, 2)
    scaled = prepared(instances=2, max_instances=4)
    assert numbers(update(known(max_instances=4), scaled)) == (1, 1, 1), "its target says it"


def test_another_instance_type_takes_the_scalable_target_off() -> None:
    make_endpoint(tags=OURS | {IN_STATE: "yes"})
    scaling = boto3.client("application-autoscaling", region_name=REGION)
    scaling.register_scalable_target(**scalable_target(NAME), MinCapacity=1, MaxCapacity=2)
    update(known(), prepared(content="c2"))
    assert scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]
    for _ in range(2):  # what is gone counts as done
        update(known(), prepared(content="c2", instance_type="ml.m5.xlarge"))
        assert not scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]


def test_scaling_that_is_declared_no_longer_goes_before_the_count_is_set() -> None:
    """The engine removes the target last, and it would bring its own count back until then."""
    make_endpoint(count=3, tags=OURS | {IN_STATE: "yes"})
    scaling = boto3.client("application-autoscaling", region_name=REGION)
    scaling.register_scalable_target(**scalable_target(NAME), MinCapacity=3, MaxCapacity=4)
    scaled = known(instances=3, max_instances=4)
    assert numbers(update(scaled, prepared(instances=3, max_instances=5))) == (1, 1, 1)
    assert scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]
    assert numbers(update(scaled, prepared(instances=2))) == (1, 2, 2)
    assert not scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]


def test_another_list_of_alarms_is_refused() -> None:
    with pytest.raises(KitError, match="list of alarms would change") as refused:
        PREPARATION.diff("", known(), prepared(alarms=["a"]))
    assert "new endpoint name" in refused.value.fix


def test_a_failed_endpoint_of_the_state_is_refused_with_the_way_out() -> None:
    make_endpoint("Failed", tags=OURS | {IN_STATE: "yes"})
    with pytest.raises(KitError, match="has failed") as refused:
        update(known(), prepared(content="c2"))
    assert "endpoint: off" in refused.value.fix
    assert exists()


@pytest.mark.parametrize(("tags", "stays"), [(OURS, False), ({}, True)])
def test_the_end_leaves_nothing_of_ours(tags: dict[str, str], stays: bool) -> None:
    make_endpoint("Failed", tags=tags)
    PREPARATION.delete("", known())
    assert exists() is stays


def test_an_endpoint_that_goes_between_two_questions_is_gone() -> None:
    """One that is being deleted may still be described, and have no tags to list a moment later."""
    make_endpoint("Failed")

    def delete(**_: Any) -> tuple[AWSResponse, dict[str, Any]]:
        """Delete, then refuse as SageMaker does; moto fails instead."""
        sagemaker().delete_endpoint(EndpointName=NAME)
        error = {"Code": "ValidationException", "Message": f'Could not find endpoint "{NAME}".'}
        return AWSResponse("", 400, {}, None), {"Error": error}

    events = client("sagemaker", AwsLocation.of(known())).meta.events
    events.register("before-call.sagemaker.ListTags", delete)
    try:
        PREPARATION.delete("", known())
    finally:
        events.unregister("before-call.sagemaker.ListTags", delete)
    assert not exists()


LIVE = live.LiveProvider()


def compared(**other: Any) -> Properties:
    return {
        **PLACE,
        "endpoint": NAME,
        "configuration": "old",
        "model": "chatbot@1",
        "sha256": OLD,
        "image": "i",
        "instances": 1,
        "min_instances": 0,
        "max_instances": 0,
        "weight": 1,
        "store": BUCKET,
        "setting": "llmops:endpoints.chat.model",
        **other,
    }


def log_of(sha256: str) -> list[dict[str, str]]:
    s3 = boto3.client("s3", region_name=REGION)
    keys = [o["Key"] for o in s3.list_objects_v2(Bucket=BUCKET, Prefix="rejections/").get("Contents", [])]
    assert keys == [f"rejections/{sha256}/{n:06d}.json" for n in range(1, len(keys) + 1)]
    return [json.loads(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()) for key in keys]


@pytest.fixture
def store() -> None:
    place = {"LocationConstraint": REGION}
    boto3.client("s3", region_name=REGION).create_bucket(Bucket=BUCKET, CreateBucketConfiguration=place)


def test_an_endpoint_that_lost_its_tag_stays(store: None) -> None:
    """A company's tools may take tags away that they don't know."""
    make_endpoint()
    LIVE.create(compared())
    arn = sagemaker().describe_endpoint(EndpointName=NAME)["EndpointArn"]
    sagemaker().delete_tags(ResourceArn=arn, TagKeys=[IN_STATE])
    assert not PREPARATION.diff("", known(), prepared()).changes
    update(known(), prepared(content="c2"))
    assert exists()
    LIVE.delete(NAME, compared())
    assert PREPARATION.diff("", known(), prepared()).changes, "what is left of it once the state knows it no longer"


def test_what_is_live_as_declared_is_marked_as_known_to_the_state(store: None) -> None:
    make_endpoint()
    assert LIVE.create(compared()).id == NAME
    arn = sagemaker().describe_endpoint(EndpointName=NAME)["EndpointArn"]
    assert {"Key": IN_STATE, "Value": "yes"} in sagemaker().list_tags(ResourceArn=arn)["Tags"]
    assert not PREPARATION.diff("", known(), prepared()).changes


def test_an_endpoint_that_is_not_there_needs_a_refresh() -> None:
    with pytest.raises(KitError, match="not on SageMaker") as refused:
        LIVE.update("", compared(), compared())
    assert "pulumi refresh" in refused.value.fix
    assert LIVE.read("id", compared()).id == ""


@pytest.mark.scorecard("silent-rollback")
def test_a_silent_rollback_fails_and_rejects_the_version(store: None) -> None:
    make_endpoint()
    declared = compared(configuration="new", model="chatbot@2", sha256=NEW)
    for times in (1, 2):
        with pytest.raises(KitError, match="old serves, and new was declared; chatbot@2 is marked rejected") as refused:
            LIVE.update("", compared(), declared)
        line = f"llmops:endpoints.chat.model: chatbot@1@sha256:{OLD}"
        assert f"go back with `{line}`" in refused.value.fix
        entries = log_of(NEW)
        assert len(entries) == times
        assert (entries[-1]["action"], entries[-1]["instead"]) == ("rejected", line)


def test_a_rollback_of_a_setting_rejects_no_version(store: None) -> None:
    make_endpoint()
    with pytest.raises(KitError, match="old serves, and new was declared") as refused:
        LIVE.update("", compared(), compared(configuration="new"))
    assert "setting that was changed" in refused.value.fix
    assert log_of(OLD) == []


@pytest.mark.scorecard("drift")
def test_refresh_tells_drift_as_changed_inputs() -> None:
    make_endpoint(count=3)
    read = LIVE.read("id", compared(configuration="new"))
    assert read.outs == read.inputs
    assert read.inputs is not None
    assert (read.inputs["configuration"], read.inputs["instances"]) == ("old", 3)
    assert LIVE.diff("", read.inputs, compared(configuration="new")).changes
    same = LIVE.read("id", compared(instances=3))
    assert same.inputs is not None
    assert not LIVE.diff("", same.inputs, compared(instances=3)).changes


def test_a_count_within_the_limits_of_scaling_is_no_drift() -> None:
    make_endpoint(count=3)
    for limits, drift in (
        ({"min_instances": 1, "max_instances": 4}, False),
        ({"min_instances": 1, "max_instances": 2}, True),
    ):
        read = LIVE.read("id", compared(**limits))
        assert read.inputs is not None
        assert (read.inputs["instances"] == 3) is drift


def test_an_update_restores_count_and_weight(store: None) -> None:
    make_endpoint(count=3)
    wanted = [{"VariantName": "main", "DesiredWeight": 0.5, "DesiredInstanceCount": 3}]
    sagemaker().update_endpoint_weights_and_capacities(EndpointName=NAME, DesiredWeightsAndCapacities=wanted)
    LIVE.update("", compared(instances=3, weight=0.5), compared(instances=2))
    (variant,) = sagemaker().describe_endpoint(EndpointName=NAME)["ProductionVariants"]
    assert (variant["DesiredInstanceCount"], variant["DesiredWeight"]) == (2, 1.0)


QUIET = {**PLACE, "endpoint": NAME, "configuration": "new", "alarms": ["chat-5xx", "chat-quality"]}


def set_alarm(name: str, state: str) -> None:
    cloudwatch = boto3.client("cloudwatch", region_name=REGION)
    cloudwatch.put_metric_alarm(AlarmName=name, EvaluationPeriods=1, ComparisonOperator="GreaterThanThreshold")
    cloudwatch.set_alarm_state(AlarmName=name, StateValue=state, StateReason="a test")


def test_an_update_waits_until_no_alarm_rings_any_more(capsys: pytest.CaptureFixture[str]) -> None:
    provider = quiet.QuietProvider()
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
    assert f"endpoint {NAME}: waiting until alarm chat-5xx no longer rings" in capsys.readouterr().out


def test_an_alarm_that_rings_on_is_named_before_the_endpoint_is_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quiet, "_WAIT_SECONDS", 0.05)
    set_alarm("chat-quality", "ALARM")
    with pytest.raises(KitError, match="alarm chat-quality is in ALARM, and SageMaker would undo any update"):
        quiet.QuietProvider().update("", QUIET, QUIET)


def test_a_schedules_spec_is_kept_and_goes_with_it(store: None) -> None:
    provider, s3 = scheduled_spec.ScheduledSpecProvider(), boto3.client("s3", region_name=REGION)
    first = {**PLACE, "bucket": BUCKET, "key": "schedules/w/a/run.json", "content": "{}"}
    second = first | {"key": "schedules/w/b/run.json"}
    provider.create(first)
    provider.update("", first, second)
    assert [o["Key"] for o in s3.list_objects_v2(Bucket=BUCKET)["Contents"]] == [second["key"]]
    provider.delete("", second)
    assert "Contents" not in s3.list_objects_v2(Bucket=BUCKET)
    provider.delete("", second | {"bucket": "gone"})


TWIN = PLACE | {"account": "000000000000"}


def test_a_stack_never_moves_to_another_account_or_twin() -> None:
    provider = account.AccountProvider()
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
        lambda: account.AccountProvider().read("id", props),
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
    names = ", ".join(f"infra.targets.aws.{m}" for m in ("account", "preparation", "quiet", "live", "scheduled_spec"))
    code = f"import sys, {names}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"pydantic", "ruamel", "pulumi_aws", "boto3", "botocore", "cryptography"} & set(loaded)
