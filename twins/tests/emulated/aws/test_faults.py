"""What goes wrong on request with any call of AWS, what SDKs make of it, and the command that asks for it."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from llmops_kit.core.twins import TWIN_ACCOUNT
from tests.support.checkout import CHECKOUT
from tests.support.clouds.twin_keys import root_keys
from twins.tests.emulated.aws.test_protocols import refusal
from twins.tests.support.aws import IMAGE, RunningTwin, made_role, session

pytestmark = pytest.mark.usefixtures("no_faults")


@pytest.fixture
def once(twin: RunningTwin) -> Iterator[Any]:
    """A client that tries once."""
    clients = []

    def client(service: str) -> Any:
        config = Config(retries={"total_max_attempts": 1})
        clients.append(session().client(service, endpoint_url=twin.info.url, config=config, **root_keys(twin.home)))
        return clients[-1]

    yield client
    for each in clients:
        each.close()


@pytest.mark.parametrize(
    ("service", "operation", "call", "code", "status"),
    [
        ("kms", "ListKeys", "list_keys", "ThrottlingException", 400),
        ("s3", "ListBuckets", "list_buckets", "SlowDown", 503),
        ("iam", "ListUsers", "list_users", "Throttling", 400),
        ("sns", "ListTopics", "list_topics", "Throttled", 429),
        ("ec2", "DescribeVpcs", "describe_vpcs", "RequestLimitExceeded", 503),
        ("sagemaker", "ListModels", "list_models", "ThrottlingException", 400),
    ],
)
def test_throttled_calls_are_refused_in_the_services_words_and_made_again(
    twin: RunningTwin, once: Any, service: str, operation: str, call: str, code: str, status: int
) -> None:
    twin.fault("throttle", service=service, operation=operation, times=2)
    error = refusal(getattr(once(service), call))
    assert error.response["Error"]["Code"] == code
    assert error.response["ResponseMetadata"]["HTTPStatusCode"] == status
    answer = getattr(twin.client(service), call)()
    assert answer["ResponseMetadata"]["RetryAttempts"] == 1


@pytest.mark.parametrize(("service", "call"), [("s3", "list_buckets"), ("sagemaker", "list_models")])
def test_internal_errors_are_answered_with_500_and_made_again(
    twin: RunningTwin, once: Any, service: str, call: str
) -> None:
    twin.fault("error", service=service, operation="List*", times=2)
    error = refusal(getattr(once(service), call))
    assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 500
    assert getattr(twin.client(service), call)()["ResponseMetadata"]["RetryAttempts"] == 1


@pytest.mark.parametrize(
    ("service", "operation", "call", "code"),
    [
        ("s3", "ListBuckets", "list_buckets", "AccessDenied"),
        ("iam", "ListUsers", "list_users", "AccessDenied"),
        ("ec2", "DescribeVpcs", "describe_vpcs", "UnauthorizedOperation"),
        ("sagemaker", "ListModels", "list_models", "AccessDeniedException"),
    ],
)
def test_an_organizations_policy_denies_even_the_root_until_it_is_gone(
    twin: RunningTwin, once: Any, service: str, operation: str, call: str, code: str
) -> None:
    twin.fault("policy", service=service, operation=operation)
    for _ in range(2):
        error = refusal(getattr(once(service), call)).response["Error"]
        assert error["Code"] == code
        assert f":root is not authorized to perform: {service}:{operation} on resource: *" in error["Message"]
        assert error["Message"].endswith("with an explicit deny in a service control policy")
    twin.ask("DELETE", "faults")
    getattr(once(service), call)()


@pytest.mark.parametrize(
    ("service", "call", "code"),
    [("s3", "list_buckets", "ExpiredToken"), ("sagemaker", "list_models", "ExpiredTokenException")],
)
def test_expired_credentials_are_refused_in_the_services_words(
    twin: RunningTwin, once: Any, service: str, call: str, code: str
) -> None:
    twin.fault("expired", principal="*:user/*")
    getattr(once(service), call)()
    twin.fault("expired", principal="*:root")
    assert refusal(getattr(once(service), call)).response["Error"]["Code"] == code
    twin.ask("DELETE", "faults")
    getattr(once(service), call)()


def test_a_slow_call_holds_up_no_other(twin: RunningTwin) -> None:
    twin.fault("slow", service="kms", operation="ListKeys", seconds=5)
    thread = threading.Thread(target=twin.client("kms").list_keys)
    thread.start()
    while twin.ask("GET", "faults") != {"slow": []}:  # until the call has met its fault
        time.sleep(0.01)
    twin.client("s3").list_buckets()
    assert thread.is_alive()
    thread.join()


def test_a_late_answer_comes_after_its_effect(twin: RunningTwin) -> None:
    """So a client that ends meanwhile does not know what it made."""
    twin.fault("late", service="sns", operation="CreateTopic", seconds=5)
    thread = threading.Thread(target=lambda: twin.client("sns").create_topic(Name="late"))
    thread.start()
    while not any("late" in topic["TopicArn"] for topic in twin.client("sns").list_topics()["Topics"]):
        time.sleep(0.01)
    assert thread.is_alive()
    thread.join()


def test_what_was_just_made_is_found_after_a_while(twin: RunningTwin, once: Any) -> None:
    twin.fault("eventual", service="iam", operation="CreateRole", seconds=5)
    made_role(twin, "soon")
    error = refusal(once("iam").get_role, RoleName="soon")
    assert error.response["Error"]["Code"] == "NoSuchEntity"
    assert made_role(twin, "other-role") != ""
    twin.client("iam").get_waiter("role_exists").wait(RoleName="soon", WaiterConfig={"Delay": 0.1, "MaxAttempts": 3000})


@pytest.mark.parametrize(
    ("service", "made", "call", "arguments", "seen", "naming", "code"),
    [
        ("ecr", "CreateRepository", "create_repository", {"repositoryName": "late"}, "describe_repositories",
         {"repositoryNames": ["late"]}, "RepositoryNotFoundException"),
        ("s3", "CreateBucket", "create_bucket", {"Bucket": "late-bucket"}, "head_bucket", {"Bucket": "late-bucket"},
         "404"),
        ("sagemaker", "CreateModelPackageGroup", "create_model_package_group", {"ModelPackageGroupName": "late"},
         "describe_model_package_group", {"ModelPackageGroupName": "late"}, "ValidationException"),
        ("secretsmanager", "CreateSecret", "create_secret", {"Name": "late"}, "describe_secret", {"SecretId": "late"},
         "ResourceNotFoundException"),
    ],
)  # fmt: skip
def test_every_service_says_in_its_own_words_that_it_is_not_there(
    twin: RunningTwin,
    once: Any,
    service: str,
    made: str,
    call: str,
    arguments: dict[str, Any],
    seen: str,
    naming: dict[str, Any],
    code: str,
) -> None:
    twin.fault("eventual", service=service, operation=made, seconds=3600)
    getattr(once(service), call)(**arguments)
    with pytest.raises(ClientError) as refused:
        getattr(once(service), seen)(**naming)
    assert refused.value.response["Error"]["Code"] == code
    twin.ask("DELETE", "faults")
    getattr(once(service), seen)(**naming)


def test_a_key_and_what_only_sounds_alike_are_told_apart(twin: RunningTwin, once: Any) -> None:
    twin.fault("eventual", service="*", operation="Create*", seconds=3600)
    key = once("kms").create_key()["KeyMetadata"]["KeyId"]
    assert refusal(once("kms").describe_key, KeyId=key).response["Error"]["Code"] == "NotFoundException"
    role = made_role(twin, "alike")
    once("sagemaker").create_model(ModelName="alike", ExecutionRoleArn=role, PrimaryContainer={"Image": IMAGE})
    variant = {"VariantName": "main", "ModelName": "alike", "InstanceType": "ml.g5.xlarge", "InitialInstanceCount": 1}
    twin.ask("DELETE", "faults")
    twin.fault("eventual", service="sagemaker", operation="CreateEndpointConfig", seconds=3600)
    once("sagemaker").create_endpoint_config(EndpointConfigName="alike", ProductionVariants=[variant])
    once("sagemaker").describe_model(ModelName="alike")
    told = refusal(once("sagemaker").describe_endpoint_config, EndpointConfigName="alike")
    assert 'Could not find endpoint configuration "arn:aws:sagemaker:us-east-1:000000000000:' in str(told)


def command(twin: RunningTwin, *arguments: str, fails: bool = False) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "llmops_kit.cli", "twin", "aws", *arguments, "--home", str(twin.home)],
        capture_output=True,
        text=True,
        cwd=CHECKOUT,
    )
    assert (done.returncode != 0) == fails, done.stderr
    return done.stderr if fails else done.stdout


def test_faults_by_command(twin: RunningTwin) -> None:
    assert "throttling error" in command(twin, "fault", "throttle", "operation=ListKeys", "times=1")
    assert twin.ask("GET", "faults")["throttle"][0] == {"service": "*", "operation": "ListKeys", "times": 1, "met": 0}
    listed = command(twin, "faults")
    assert "throttle" in listed
    assert "operation=ListKeys" in listed
    assert command(twin, "faults", "--clear").strip() == "no faults"
    told = command(twin, "fault", "trottle", fails=True)
    assert "did you mean throttle?" in told
    assert "Traceback" not in told
    assert "MEMBER=VALUE" in command(twin, "fault", "throttle", "operation", fails=True)
    assert "cut_stream" in command(twin, "faults", "--kinds")


def test_an_account_may_have_no_budgets(twin: RunningTwin) -> None:
    budgets, named = twin.client("budgets"), {"AccountId": TWIN_ACCOUNT, "BudgetName": "kit"}
    assert refusal(budgets.describe_budget, **named).response["Error"]["Code"] == "NotFoundException"
    twin.fault("no_budgets")
    for _ in range(2):
        assert refusal(budgets.describe_budget, **named).response["Error"]["Code"] == "AccessDeniedException"
