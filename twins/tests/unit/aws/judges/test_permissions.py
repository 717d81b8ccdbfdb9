"""Decisions: identity, boundary, session and resource policies, conditions, roles, and AWS's words for a denial."""

import signal
from pathlib import Path
from typing import Any

import pytest

from llmops_kit.core.errors import KitError
from llmops_twins.aws import buckets
from llmops_twins.aws.calls import ApiCall, AwsApiError
from llmops_twins.aws.judges.permissions import AwsPermissionJudge
from llmops_twins.aws.twin import AccountTwin, TwinSettings
from llmops_twins.core import web_identity
from twins.tests.unit.aws.judges.bench import ACCOUNT, REGION, ROOT, Bench, allow, deny, policy

ENDPOINT = {"EndpointName": "e"}
ENDPOINT_ARN = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:endpoint/e"
LOCKED = deny("s3:*", ["arn:aws:s3:::data", "arn:aws:s3:::data/*"], Principal="*")
ACCOUNT_RULES = allow("kms:*", Principal={"AWS": ROOT})


def message(error: AwsApiError | None) -> str:
    assert error is not None
    return error.message


def test_what_a_policy_allows_is_allowed_and_nothing_else(bench: Bench) -> None:
    user = bench.user("dev", allow("sagemaker:DescribeEndpoint", ENDPOINT_ARN))
    assert bench.refusal("sagemaker", "DescribeEndpoint", ENDPOINT, user) is None
    assert bench.refusal("sagemaker", "DescribeEndpoint", {"EndpointName": "f"}, user)
    refused = bench.refusal("sagemaker", "DeleteEndpoint", ENDPOINT, user)
    assert refused
    assert (refused.code, refused.status) == ("AccessDeniedException", 400)
    assert refused.message == (
        f"User: {user} is not authorized to perform: sagemaker:DeleteEndpoint on resource: {ENDPOINT_ARN} because no "
        "identity-based policy allows the sagemaker:DeleteEndpoint action"
    )


@pytest.mark.parametrize(
    ("service", "operation", "parameters", "code", "status"),
    [
        ("s3", "ListObjectsV2", {"Bucket": "data"}, "AccessDenied", 403),
        ("iam", "CreateRole", {"RoleName": "r"}, "AccessDenied", 403),
        ("ec2", "CreateVpc", {}, "UnauthorizedOperation", 403),
        ("sns", "CreateTopic", {"Name": "t"}, "AuthorizationError", 403),
        ("kms", "CreateKey", {}, "AccessDeniedException", 400),
        ("logs", "CreateLogGroup", {"logGroupName": "g"}, "AccessDeniedException", 400),
        ("cloudwatch", "PutMetricAlarm", {"AlarmName": "a"}, "AccessDenied", 403),
        ("scheduler", "CreateSchedule", {"Name": "s", "Target": {}}, "AccessDeniedException", 403),
    ],
)
def test_each_service_denies_with_its_own_code(
    bench: Bench, service: str, operation: str, parameters: dict[str, Any], code: str, status: int
) -> None:
    refused = bench.refusal(service, operation, parameters, bench.user("dev"))
    assert refused
    assert (refused.code, refused.status) == (code, status)


def test_policies_come_from_groups_and_managed_policies_in_force(bench: Bench) -> None:
    user = bench.user("dev", deny("sagemaker:Nothing"))
    bench.iam.create_group("builders")
    bench.iam.add_user_to_group("builders", "dev")
    bench.iam.get_group("builders").policies["p"] = policy(allow("sagemaker:DescribeEndpoint"))
    assert bench.refusal("sagemaker", "DescribeEndpoint", ENDPOINT, user) is None
    managed = bench.iam.create_policy("", "/", policy(allow("sagemaker:DeleteEndpoint")), "p", [])
    bench.iam.attach_user_policy(managed.arn, "dev")
    assert bench.refusal("sagemaker", "DeleteEndpoint", ENDPOINT, user) is None
    bench.iam.create_policy_version(managed.arn, policy(allow("sagemaker:Nothing")), "true")
    assert bench.refusal("sagemaker", "DeleteEndpoint", ENDPOINT, user)


def test_a_boundary_limits_what_a_role_may(bench: Bench) -> None:
    boundary = bench.iam.create_policy("", "/", policy(allow("s3:*")), "boundary", []).arn
    bench.role("job", allow(["s3:*", "sagemaker:*"]), boundary=boundary)
    session = f"arn:aws:sts::{ACCOUNT}:assumed-role/job/s"
    assert bench.refusal("s3", "ListBuckets", {}, session) is None
    assert "because no permissions boundary allows the sagemaker:DeleteEndpoint action" in message(
        bench.refusal("sagemaker", "DeleteEndpoint", ENDPOINT, session)
    )


def test_an_explicit_denial_wins_and_says_where_it_stands(bench: Bench) -> None:
    user = bench.user("dev", allow("*"), deny("s3:DeleteObject"))
    bench.bucket("data", deny("s3:PutObject", "arn:aws:s3:::data/*", Principal="*"))
    at = {"Bucket": "data", "Key": "k"}
    assert message(bench.refusal("s3", "DeleteObject", at, user)).endswith(
        "with an explicit deny in an identity-based policy"
    )
    assert message(bench.refusal("s3", "PutObject", at, user)).endswith(
        "with an explicit deny in a resource-based policy"
    )


def test_the_root_of_the_account_may_all_but_what_a_resource_denies(bench: Bench) -> None:
    assert bench.refusal("sagemaker", "DeleteEndpoint", ENDPOINT, ROOT) is None
    bench.bucket("data", LOCKED)
    assert bench.refusal("s3", "ListObjectsV2", {"Bucket": "data"}, ROOT)
    key = bench.key(allow("kms:*", Principal={"AWS": f"arn:aws:iam::{ACCOUNT}:role/other"}))
    assert "no resource-based policy allows" in message(bench.refusal("kms", "Encrypt", {"KeyId": key}, ROOT))


def test_the_evaluator_is_not_asked_for_the_root(bench: Bench) -> None:
    bench.bucket("data", allow("s3:GetObject", "arn:aws:s3:::data/*", Principal="*"))
    key = bench.key(ACCOUNT_RULES)
    asked = bench.judge._evaluator._asked
    assert bench.refusal("s3", "PutObject", {"Bucket": "data", "Key": "k"}, ROOT) is None
    assert bench.refusal("kms", "Encrypt", {"KeyId": key}, ROOT) is None
    assert bench.judge._evaluator._asked == asked


def test_a_bucket_that_wants_tls_gets_it(bench: Bench) -> None:
    user = bench.user("dev", allow("s3:*"))
    bench.bucket("data", {**LOCKED, "Condition": {"Bool": {"aws:SecureTransport": "false"}}})
    assert bench.refusal("s3", "ListObjectsV2", {"Bucket": "data"}, user) is None


def test_a_bucket_may_insist_on_its_key(bench: Bench) -> None:
    user = bench.user("dev", allow(["s3:*", "kms:*"]))
    key = bench.key(ACCOUNT_RULES)
    other = {"StringNotEquals": {"s3:x-amz-server-side-encryption-aws-kms-key-id": key}}
    bench.bucket("data", deny("s3:PutObject", "arn:aws:s3:::data/*", Principal="*", Condition=other))
    put = {"Bucket": "data", "Key": "k", "ServerSideEncryption": "aws:kms"}
    assert bench.refusal("s3", "PutObject", {**put, "SSEKMSKeyId": key}, user) is None
    assert bench.refusal("s3", "PutObject", {**put, "SSEKMSKeyId": bench.key(ACCOUNT_RULES)}, user)


def test_a_resource_policy_alone_is_enough_in_the_same_account(bench: Bench) -> None:
    user = bench.user("dev")
    bench.bucket("data", allow("s3:ListBucket", "arn:aws:s3:::data", Principal={"AWS": user}))
    assert bench.refusal("s3", "ListObjectsV2", {"Bucket": "data"}, user) is None


EVIL = {"Bucket": "llmops-evil", "Key": "stolen"}
OURS = {"Bucket": "llmops-ours", "Key": "a"}
TO_EVIL = [
    ("PutObject", EVIL),
    ("CopyObject", {**EVIL, "CopySource": "llmops-ours/a"}),
    ("CopyObject", {**OURS, "CopySource": "llmops-evil/stolen"}),
    ("GetObject", EVIL),
    ("ListObjectsV2", {"Bucket": "llmops-evil"}),
    ("DeleteObjects", {"Bucket": "llmops-evil", "Delete": {"Objects": [{"Key": "stolen"}]}}),
]


@pytest.fixture
def strangers(bench: Bench) -> None:
    """A bucket of the account with an object, and one of another account that lets everybody in."""
    bench.bucket("llmops-ours")
    bench.s3.put_object("llmops-ours", "a", b"1")
    buckets.make_strangers(bench.twin, "llmops-evil")


@pytest.mark.parametrize("key", ["aws:ResourceAccount", "s3:ResourceAccount"])
def test_a_condition_on_the_owner_keeps_data_out_of_a_strangers_bucket(bench: Bench, strangers: None, key: str) -> None:
    reach = allow("s3:*", "arn:aws:s3:::llmops-*")
    careless = bench.user("careless", reach)
    careful = bench.user("careful", reach | {"Condition": {"StringEquals": {key: ACCOUNT}}})
    for operation, parameters in TO_EVIL:
        assert bench.refusal("s3", operation, parameters, careless) is None, operation
        refused = bench.refusal("s3", operation, parameters, careful)
        assert refused, operation
        assert refused.code == "AccessDenied"
    for operation in ("PutObject", "GetObject"):
        assert bench.refusal("s3", operation, OURS, careful) is None
    assert bench.refusal("s3", "CreateBucket", {"Bucket": "llmops-new"}, careful) is None
    service = bench.role("jobs", reach | {"Condition": {"StringEquals": {key: ACCOUNT}}})
    assert bench.judge.may(service, "s3:PutObject", "arn:aws:s3:::llmops-ours/a") is None
    assert bench.judge.may(service, "s3:PutObject", "arn:aws:s3:::llmops-evil/a")


def test_in_a_strangers_bucket_both_sides_must_allow_even_the_root(bench: Bench, strangers: None) -> None:
    nobody, anybody = bench.user("nobody"), bench.user("anybody", allow("s3:PutObject"))
    assert bench.refusal("s3", "PutObject", EVIL, nobody), "a bucket that lets everybody in is not enough"
    for principal in (anybody, ROOT):
        assert bench.refusal("s3", "PutObject", EVIL, principal) is None
    theirs = allow("s3:*", ["arn:aws:s3:::llmops-evil/*"], Principal={"AWS": buckets.STRANGER})
    bench.s3.put_bucket_policy("llmops-evil", policy(theirs).encode())
    for principal in (anybody, ROOT):
        assert bench.refusal("s3", "PutObject", EVIL, principal)


def test_conditions_on_the_request(bench: Bench) -> None:
    prefix = allow("s3:ListBucket", Condition={"StringLike": {"s3:prefix": "mine/*"}})
    passed = allow("iam:PassRole", Condition={"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}})
    tagged = allow("sagemaker:*", Condition={"StringEquals": {"aws:RequestTag/team": "a"}})
    user = bench.user("dev", prefix, passed, tagged, allow("scheduler:*"))
    assert bench.refusal("s3", "ListObjectsV2", {"Bucket": "data", "Prefix": "mine/x"}, user) is None
    assert bench.refusal("s3", "ListObjectsV2", {"Bucket": "data", "Prefix": "yours/x"}, user)
    model = {"ModelName": "m", "ExecutionRoleArn": f"arn:aws:iam::{ACCOUNT}:role/r"}
    assert bench.refusal("sagemaker", "CreateModel", {**model, "Tags": [{"Key": "team", "Value": "a"}]}, user) is None
    assert bench.refusal("sagemaker", "CreateModel", {**model, "Tags": [{"Key": "team", "Value": "b"}]}, user)
    schedule = {"Name": "s", "Target": {"RoleArn": f"arn:aws:iam::{ACCOUNT}:role/r"}}
    assert "iam:PassRole" in message(bench.refusal("scheduler", "CreateSchedule", schedule, user))


def test_conditions_on_the_tags_of_principal_and_resource(bench: Bench) -> None:
    role = bench.role(
        "team",
        allow("iam:DeleteRole", Condition={"StringEquals": {"aws:ResourceTag/team": "${aws:PrincipalTag/team}"}}),
    )
    bench.iam.tag_role("team", [{"Key": "team", "Value": "a"}])
    assert role
    for name, team in [("ours", "a"), ("theirs", "b")]:
        bench.role(name, allow("s3:*"))
        bench.iam.tag_role(name, [{"Key": "team", "Value": team}])
    session = f"arn:aws:sts::{ACCOUNT}:assumed-role/team/s"
    assert bench.refusal("iam", "DeleteRole", {"RoleName": "ours"}, session) is None
    assert bench.refusal("iam", "DeleteRole", {"RoleName": "theirs"}, session)


def test_a_deployer_may_be_made_to_set_a_boundary(bench: Bench) -> None:
    boundary = bench.iam.create_policy("", "/", policy(allow("s3:*")), "boundary", []).arn
    condition = {"StringEquals": {"iam:PermissionsBoundary": boundary}}
    user = bench.user("dev", allow(["iam:CreateRole", "iam:PutRolePolicy"], Condition=condition))
    trust = policy(allow("sts:AssumeRole", None, Principal={"Service": "sagemaker.amazonaws.com"}))
    made = {"RoleName": "r", "AssumeRolePolicyDocument": trust}
    assert bench.refusal("iam", "CreateRole", made, user)
    assert bench.refusal("iam", "CreateRole", {**made, "PermissionsBoundary": boundary}, user) is None
    bench.role("bound", allow("s3:*"), boundary=boundary)
    bench.role("free", allow("s3:*"))
    put = {"PolicyName": "p", "PolicyDocument": policy(allow("s3:*"))}
    assert bench.refusal("iam", "PutRolePolicy", {"RoleName": "bound", **put}, user) is None
    assert bench.refusal("iam", "PutRolePolicy", {"RoleName": "free", **put}, user)


def test_a_key_is_ruled_by_its_policy(bench: Bench) -> None:
    user = bench.user("dev", allow("kms:*"))
    assert bench.refusal("kms", "Encrypt", {"KeyId": bench.key(ACCOUNT_RULES)}, user) is None
    closed = bench.key(allow("kms:*", Principal={"AWS": f"arn:aws:iam::{ACCOUNT}:user/other"}))
    assert bench.refusal("kms", "Encrypt", {"KeyId": closed}, user)
    stranger = bench.user("stranger")
    named = bench.key(allow("kms:Encrypt", Principal={"AWS": stranger}))
    assert bench.refusal("kms", "Encrypt", {"KeyId": named}, stranger) is None
    granted = bench.key(ACCOUNT_RULES)
    assert bench.refusal("kms", "Decrypt", {"KeyId": granted}, stranger)
    bench.kms.create_grant(granted, stranger, ["Decrypt"], "g", {}, "")
    assert bench.refusal("kms", "Decrypt", {"KeyId": granted}, stranger) is None


def test_an_encrypted_bucket_needs_the_key_too(bench: Bench) -> None:
    user = bench.user("dev", allow("s3:*"))
    bench.bucket("data", key=bench.key(ACCOUNT_RULES))
    refused = bench.refusal("s3", "PutObject", {"Bucket": "data", "Key": "k"}, user)
    assert "kms:GenerateDataKey" in message(refused)
    via = {"StringEquals": {"kms:ViaService": f"s3.{REGION}.amazonaws.com"}}
    able = bench.user("able", allow("s3:*"), allow("kms:GenerateDataKey", Condition=via))
    assert bench.refusal("s3", "PutObject", {"Bucket": "data", "Key": "k"}, able) is None
    assert bench.refusal("kms", "GenerateDataKey", {"KeyId": bench.key(ACCOUNT_RULES)}, able)


def test_a_role_is_assumed_by_whom_it_trusts(bench: Bench) -> None:
    user = bench.user("dev")
    other = bench.user("other", allow("sts:AssumeRole"))
    role = bench.role("r", allow("s3:*"), trust=policy(allow("sts:AssumeRole", None, Principal={"AWS": user})))
    asked = {"RoleArn": role, "RoleSessionName": "s"}
    assert bench.refusal("sts", "AssumeRole", asked, user) is None
    assert bench.refusal("sts", "AssumeRole", asked, other)


def test_a_session_policy_narrows_a_session(bench: Bench) -> None:
    from moto.sts.models import sts_backends

    role = bench.role("r", allow("s3:*"))
    backend = sts_backends[ACCOUNT]["aws"]
    narrow = policy(allow("s3:ListAllMyBuckets"))
    session = backend.assume_role("us-east-1", "s", role, narrow, 900, "")
    listed = ApiCall("s3", "ListBuckets", {}, session.access_key_id, REGION, session.arn)
    bench.judge(listed)
    made = ApiCall("s3", "CreateBucket", {"Bucket": "new"}, session.access_key_id, REGION, session.arn)
    with pytest.raises(AwsApiError, match="because no session policy allows the s3:CreateBucket action"):
        bench.judge(made)


def test_a_web_identity_is_judged_by_what_its_token_says(bench: Bench) -> None:
    provider = bench.iam.create_open_id_connect_provider(
        "https://ci.example.com", ["0" * 40], ["sts.amazonaws.com"], []
    ).arn
    condition = {"StringEquals": {"ci.example.com:aud": "sts.amazonaws.com", "ci.example.com:sub": "repo:us/kit:main"}}
    trusted = allow("sts:AssumeRoleWithWebIdentity", None, Principal={"Federated": provider}, Condition=condition)
    role = bench.role("ci", allow("s3:*"), trust=policy(trusted))

    def refusal(given: str = "", **claims: Any) -> AwsApiError | None:
        said = {"iss": "https://ci.example.com", "aud": "sts.amazonaws.com", **claims}
        asked = {
            "RoleArn": role,
            "RoleSessionName": "s",
            "WebIdentityToken": given or web_identity.issue(bench.judge.account.twin.home, said),
        }
        return bench.refusal("sts", "AssumeRoleWithWebIdentity", asked, "")

    assert refusal(sub="repo:us/kit:main") is None
    assert message(refusal(sub="repo:them/kit:main")) == "Not authorized to perform sts:AssumeRoleWithWebIdentity"
    stranger = refusal(iss="https://elsewhere.example.com", sub="repo:us/kit:main")
    assert stranger
    assert stranger.code == "InvalidIdentityToken"
    forged = refusal("e30.eyJpc3MiOiAiaHR0cHM6Ly9jaS5leGFtcGxlLmNvbSJ9.c2ln")
    assert forged
    assert forged.code == "InvalidIdentityToken"


def test_what_a_service_does_under_a_role(bench: Bench) -> None:
    ours = {"StringEquals": {"aws:SourceAccount": ACCOUNT}, "ArnLike": {"aws:SourceArn": f"{ENDPOINT_ARN}*"}}
    trust = policy(allow("sts:AssumeRole", None, Principal={"Service": "sagemaker.amazonaws.com"}, Condition=ours))
    role = bench.role("r", allow("s3:GetObject", "arn:aws:s3:::data/*"), trust=trust)
    source = {"aws:SourceArn": ENDPOINT_ARN}
    may = bench.judge.may
    assert may(role, "s3:GetObject", "arn:aws:s3:::data/k", source) is None
    assert "no identity-based policy allows the s3:PutObject action" in (
        may(role, "s3:PutObject", "arn:aws:s3:::data/k", source) or ""
    )
    assert "Could not assume role" in (
        may(role, "s3:GetObject", "arn:aws:s3:::data/k", {"aws:SourceArn": "arn:x"}) or ""
    )
    assert "Could not assume role" in (
        may(role, "s3:GetObject", "arn:aws:s3:::data/k", source, service="scheduler.amazonaws.com") or ""
    )
    missing = f"arn:aws:iam::{ACCOUNT}:role/none"
    assert "Could not assume role" in (may(missing, "s3:GetObject", "arn:aws:s3:::data/k", source) or "")
    bench.bucket("data", LOCKED)
    assert "explicit deny in a resource-based policy" in (
        may(role, "s3:GetObject", "arn:aws:s3:::data/k", source) or ""
    )


def test_a_simulation_asks_no_trust_policy_and_records_nothing(bench: Bench) -> None:
    nobodys = bench.role("r", allow("s3:GetObject"), trust=policy(deny("sts:AssumeRole", Principal="*")))
    user = bench.user("dev", allow("s3:GetObject"))
    for arn in (nobodys, user):
        assert bench.judge.may(arn, "s3:GetObject", "arn:aws:s3:::data/k", service="") is None
        assert bench.judge.may(arn, "s3:PutObject", "arn:aws:s3:::data/k", service="")
    assert not bench.twin.state.get("recorded")


def test_a_call_that_the_scheduler_makes(bench: Bench) -> None:
    trust = policy(allow("sts:AssumeRole", None, Principal={"Service": "scheduler.amazonaws.com"}))
    training = f"arn:aws:iam::{ACCOUNT}:role/training"
    job = bench.call("sagemaker", "CreateTrainingJob", {"TrainingJobName": "j", "RoleArn": training})
    starts = bench.role("starts", allow("sagemaker:CreateTrainingJob"), trust=trust)
    assert "iam:PassRole" in (bench.judge.may_call(starts, job, service="scheduler.amazonaws.com") or "")
    able = bench.role("able", allow("sagemaker:CreateTrainingJob"), allow("iam:PassRole", training), trust=trust)
    assert bench.judge.may_call(able, job, service="scheduler.amazonaws.com") is None


def test_what_a_service_does_in_its_own_name(bench: Bench) -> None:
    logs = f"logs.{REGION}.amazonaws.com"
    group = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/g"
    condition = {"ArnLike": {"kms:EncryptionContext:aws:logs:arn": group}}
    use = ["kms:Encrypt*", "kms:Decrypt*", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:Describe*"]
    open_key = bench.key(ACCOUNT_RULES, allow(use, Principal={"Service": logs}, Condition=condition))
    assert bench.refusal("logs", "CreateLogGroup", {"logGroupName": "/g", "kmsKeyId": open_key}, ROOT) is None
    refused = bench.refusal("logs", "CreateLogGroup", {"logGroupName": "/other", "kmsKeyId": open_key}, ROOT)
    assert "is not allowed to be used with LogGroup" in message(refused)
    topic = bench_topic(bench, allow("sns:Publish", Principal={"Service": "cloudwatch.amazonaws.com"}))
    assert bench.judge.service_may("cloudwatch.amazonaws.com", "sns:Publish", topic)
    assert not bench.judge.service_may("budgets.amazonaws.com", "sns:Publish", topic)


def bench_topic(bench: Bench, *statements: dict[str, Any]) -> str:
    from moto.sns.models import sns_backends

    topic = sns_backends[ACCOUNT][REGION].create_topic("alarms")
    topic.policy = policy(*statements)
    return topic.arn


def test_a_policy_that_iam_refuses_is_refused(bench: Bench) -> None:
    put = {"RoleName": "r", "PolicyName": "p", "PolicyDocument": policy(allow("sagemaker", "*"))}
    refused = bench.refusal("iam", "PutRolePolicy", put, ROOT)
    assert refused
    assert refused.code == "MalformedPolicyDocument"
    trust = {"RoleName": "r", "AssumeRolePolicyDocument": policy(allow("sts:AssumeRole", Principal={"AWS": ROOT}))}
    assert "Resource is not allowed in a trust policy" in message(bench.refusal("iam", "CreateRole", trust, ROOT))
    broken = {"RoleName": "r", "PolicyName": "p", "PolicyDocument": "{"}
    assert "invalid Json" in message(bench.refusal("iam", "PutRolePolicy", broken, ROOT))


def test_all_that_was_asked_is_recorded_once(bench: Bench) -> None:
    user = bench.user("dev", allow("s3:ListAllMyBuckets"))
    for _ in range(2):
        bench.refusal("s3", "ListBuckets", {}, user)
        bench.refusal("sagemaker", "DeleteEndpoint", ENDPOINT, user)
    bench.refusal("sagemaker", "DeleteEndpoint", ENDPOINT, ROOT)
    assert bench.twin.state["recorded"] == [
        [user, "s3:ListAllMyBuckets", "*", True],
        [user, "sagemaker:DeleteEndpoint", ENDPOINT_ARN, False],
        [ROOT, "sagemaker:DeleteEndpoint", ENDPOINT_ARN, True],
    ]
    bench.twin.state["recorded"] = []
    bench.refusal("s3", "ListBuckets", {}, user)
    assert bench.twin.state["recorded"] == [[user, "s3:ListAllMyBuckets", "*", True]]


def test_the_judge_can_be_off(bench: Bench) -> None:
    user = bench.user("dev")
    bench.twin.set_settings(judge="off")
    assert bench.refusal("sagemaker", "DeleteEndpoint", ENDPOINT, user) is None
    assert bench.twin.may(f"arn:aws:iam::{ACCOUNT}:role/none", "s3:GetObject", "arn:aws:s3:::data/k") is None


def test_a_judge_that_is_off_needs_no_node(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LLMOPS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9")
    monkeypatch.setenv("npm_config_fetch_retries", "0")
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "npm"))
    twin = AccountTwin(tmp_path, TwinSettings(judge="off"), region=REGION)
    judge = AwsPermissionJudge(twin)
    judge(ApiCall("s3", "ListBuckets", {}, "", REGION, ROOT))
    judge.close()
    with pytest.raises(KitError, match="can't be installed"):
        AwsPermissionJudge(AccountTwin(tmp_path))


def test_a_user_who_is_gone_is_nobody(bench: Bench) -> None:
    refused = bench.refusal("s3", "ListBuckets", {}, f"arn:aws:iam::{ACCOUNT}:user/gone")
    assert refused
    assert refused.code == "InvalidClientTokenId"


def test_a_judge_that_died_says_so(tmp_path: Path) -> None:
    judge = AwsPermissionJudge(AccountTwin(tmp_path))
    judge._evaluator._process.send_signal(signal.SIGKILL)
    judge._evaluator._process.wait()
    with pytest.raises(KitError, match="start the twin again"):
        judge.service_may("x.amazonaws.com", "sns:Publish", f"arn:aws:sns:{REGION}:{ACCOUNT}:t")
    judge.close()


def test_a_keys_own_conditions_hold_for_every_use_of_it(bench: Bench) -> None:
    """https://docs.aws.amazon.com/kms/latest/developerguide/conditions-kms.html"""
    key = bench.key(ACCOUNT_RULES)
    identity = key.rpartition("/")[2]
    bench.kms.create_alias(identity, "alias/payroll")
    call = ("kms", "TagResource", {"KeyId": key, "Tags": [{"TagKey": "a", "TagValue": "b"}]})
    theirs = {"ForAnyValue:StringNotLike": {"kms:ResourceAliases": "alias/llmops-*"}}
    careful = bench.user("careful", allow("kms:*"), deny("kms:TagResource", "*", Condition=theirs))
    assert bench.refusal(*call, careful)
    bench.kms.delete_alias("alias/payroll")
    assert bench.refusal(*call, careful) is None
    encrypts = {"StringEquals": {"kms:KeyUsage": "ENCRYPT_DECRYPT", "kms:KeySpec": "SYMMETRIC_DEFAULT"}}
    assert bench.refusal(*call, bench.user("fits", allow("kms:*", Condition=encrypts))) is None
    signs = {"StringEquals": {"kms:KeyUsage": "SIGN_VERIFY"}}
    assert bench.refusal(*call, bench.user("signer", allow("kms:*", Condition=signs)))


def test_whatever_ec2_tags_is_told_apart_by_its_tags(bench: Bench) -> None:
    """https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/supported-iam-actions-tagging.html"""
    from moto.ec2.models import ec2_backends

    ours = {"StringEquals": {"aws:ResourceTag/llmops:project": "llmops"}}
    deployer = bench.user("deployer", allow("ec2:DeleteFlowLogs", Condition=ours), allow("logs:DeleteLogDelivery"))
    ec2_backends[ACCOUNT][REGION].create_tags(["fl-1", "sgr-1"], {"llmops:project": "llmops"})
    assert bench.refusal("ec2", "DeleteFlowLogs", {"FlowLogIds": ["fl-1"]}, deployer) is None
    assert bench.refusal("ec2", "DeleteFlowLogs", {"FlowLogIds": ["fl-2"]}, deployer)


def test_an_association_of_a_route_table_is_judged_as_its_table_and_subnet(bench: Bench) -> None:
    """https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html"""
    from moto.ec2.models import ec2_backends

    backend = ec2_backends[ACCOUNT][REGION]
    vpc = backend.create_vpc("10.8.0.0/16")
    subnet = backend.create_subnet(vpc.id, "10.8.1.0/24", f"{REGION}a")
    table = backend.create_route_table(vpc.id)
    call = (
        "ec2",
        "DisassociateRouteTable",
        {"AssociationId": backend.associate_route_table(table.id, None, subnet.id)},
    )
    ours = {"StringEquals": {"aws:ResourceTag/llmops:project": "llmops"}}
    deployer = bench.user("deployer", allow("ec2:Disassociate*", Condition=ours))
    backend.create_tags([table.id], {"llmops:project": "llmops"})
    refused = bench.refusal(*call, deployer)
    assert f"subnet/{subnet.id}" in message(refused)
    backend.create_tags([subnet.id], {"llmops:project": "llmops"})
    assert bench.refusal(*call, deployer) is None
