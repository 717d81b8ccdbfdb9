"""The whole program for AWS: outputs, names, URNs, what a company has already, and switching from this machine."""

import json
from pathlib import Path
from typing import Any, get_args

import pulumi
import pytest

from llmops_kit.clouds.aws.settings import Interface
from llmops_kit.core.documents.outputs import StackOutputs
from llmops_kit.core.layout import run_spec_key
from llmops_kit.infra.testing import resource_type
from tests.support.checkout import CHECKOUT
from tests.unit.infra.aws.conftest import ACCOUNT, REGION, RUN, SERVING, TRAINING, Account
from tests.unit.infra.program import Declared, targets_of_one_entry

URNS = Path(__file__).with_name("urns-aws.txt")
ROLE, KEY = f"arn:aws:iam::{ACCOUNT}:role", f"arn:aws:kms:{REGION}:{ACCOUNT}:key"
HAD = {
    "kms_key_arn": f"{KEY}/data",
    "signing_key_arn": f"{KEY}/signing",
    "registry": f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/llm",
    "roles": {r: f"{ROLE}/{r}" for r in ("training", "endpoint", "scheduler")},
    "network": {"mode": "existing", "subnet_ids": ["subnet-1", "subnet-2"], "security_group_ids": ["sg-1"]},
}


def everything(account: Account) -> dict[str, Any]:
    """A configuration with each kind of resource."""
    account.add_run()
    model = account.add_version("chatbot@1")
    return {
        "endpoints": {
            "chat": {"model": model, "size": {"instances": 1, "max_instances": 3}},
            "batch": {"model": model, "mode": "async", "size": {"instances": 0, "max_instances": 2}},
        },
        "aws": {
            "network": {"mode": "own", "interface_endpoints": list(get_args(Interface))},
            "budget": {"emails": ["you@example.com"]},
            "schedules": {"weekly": {"run": RUN, "cron": "cron(0 3 ? * SUN *)"}},
        },
    }


@pytest.fixture(scope="module")
def full(account: Account) -> Declared:
    return account.provision(everything(account))


def test_an_empty_stack_has_what_versions_and_runs_need(account: Account) -> None:
    declared = account.provision({})
    assert not [t for t in declared.types() if "ec2" in t or "endpoint" in t.lower() or "scheduler" in t]
    outputs = StackOutputs.parse(json.dumps(declared.outputs), where="outputs")
    assert outputs.store.url == f"s3://{account.bucket('store')}"
    assert outputs.training.runs == f"s3://{account.bucket('work')}/runs"
    assert outputs.signing.private_key == "awskms:///arn:of:signing-key (llmops down keeps it)"
    assert outputs.signing.public_key.startswith("-----BEGIN PUBLIC KEY-----")


def test_outputs_say_what_everything_is_called(full: Declared, account: Account) -> None:
    outputs = StackOutputs.parse(json.dumps(full.outputs), where="outputs")
    assert outputs.aws
    assert (outputs.aws.account, outputs.aws.region, outputs.aws.partition) == (ACCOUNT, REGION, "aws")
    assert outputs.aws.twin is False
    assert outputs.aws.endpoints == {"chat": account.names.of("chat"), "batch": account.names.of("batch")}
    assert outputs.aws.roles == {r: f"arn:of:role-{r}" for r in ("training", "endpoint", "scheduler")}
    assert set(outputs.aws.repositories) == {"training", "serving"}
    assert outputs.aws.network == {"subnets": ["private-a", "private-b"], "security_groups": ["workloads"]}
    assert outputs.aws.work_bucket == account.bucket("work")
    assert outputs.aws.alarms_topic == "arn:of:alarms"
    assert outputs.aws.model_package_group == account.names.of("models")
    assert outputs.training.image == TRAINING
    assert outputs.endpoints["chat"].image == SERVING
    assert outputs.endpoints["chat"].key == ""


def test_a_first_preview_knows_what_can_be_known(account: Account) -> None:
    declared = account.provision(everything(account), preview=True)
    assert declared.of("store (llmops down keeps it)")["bucket"] == account.bucket("store")
    assert declared.of("endpoint-chat")["name"] == account.names.of("chat")
    assert declared.of("preparation-chat")["instance_type"] == "ml.m5.xlarge"
    assert declared.outputs["aws"]["endpoints"]["chat"] == account.names.of("chat")


def test_urns_stay_as_they_are(full: Declared) -> None:
    """A changed URN means another resource: the old one would be deleted. Give the new one an alias first."""
    assert sorted(full.resources) == URNS.read_text().splitlines()


def test_every_type_is_one_that_the_stand_in_knows(full: Declared) -> None:
    known = json.loads((CHECKOUT / "twins/llmops_twins/plugins/aws/types.json").read_text())
    assert {t for t in full.types() if t.startswith("aws:")} <= set(known)


def test_everything_is_tagged_through_the_provider(account: Account) -> None:
    declared = account.provision({"aws": {"tags": {"team": "chat"}}})
    provider = declared.of("aws")
    assert json.loads(provider["defaultTags"])["tags"] == {
        "team": "chat",
        "llmops:project": "llmops",
        "llmops:stack": "demo",
        "llmops:cost": "llmops/demo",
        "llmops:managed-by": "pulumi",
    }
    assert json.loads(provider["allowedAccountIds"]) == [ACCOUNT]
    assert json.loads(provider["ignoreTags"]) == {"keys": ["llmops:in-state"]}
    assert "endpoints" not in provider, "nothing but AWS's own addresses"


LIMITS = {
    "aws:s3/bucket:Bucket": ("bucket", 63),
    "aws:iam/role:Role": ("name", 64),
    "aws:kms/alias:Alias": ("name", 256),
    "aws:ecr/repository:Repository": ("name", 256),
    "aws:sagemaker/model:Model": ("name", 63),
    "aws:sagemaker/endpointConfiguration:EndpointConfiguration": ("name", 63),
    "aws:sagemaker/endpoint:Endpoint": ("name", 63),
    "aws:sagemaker/modelPackageGroup:ModelPackageGroup": ("modelPackageGroupName", 63),
    "aws:cloudwatch/metricAlarm:MetricAlarm": ("name", 255),
    "aws:cloudwatch/logGroup:LogGroup": ("name", 512),
    "aws:cloudwatch/logMetricFilter:LogMetricFilter": ("name", 512),
    "aws:cloudwatch/dashboard:Dashboard": ("dashboardName", 255),
    "aws:scheduler/schedule:Schedule": ("name", 64),
    "aws:scheduler/scheduleGroup:ScheduleGroup": ("name", 64),
    "aws:budgets/budget:Budget": ("name", 100),
    "aws:sns/topic:Topic": ("name", 256),
    "aws:ec2/securityGroup:SecurityGroup": ("name", 255),
    "aws:appautoscaling/policy:Policy": ("name", 255),
}


def _physical(declared: Declared) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for urn, inputs in declared.resources.items():
        if limit := LIMITS.get(kind := resource_type(urn)):
            found.setdefault(kind, set()).add(inputs[limit[0]])
    return found


def test_names_keep_their_limits_and_stacks_share_none(account: Account, full: Declared, tmp_path: Path) -> None:
    other = Account(tmp_path, "d" * 36 + "-eu1")
    assert len(other.stack) == 40
    first, second = _physical(full), _physical(other.provision(everything(other)))
    assert first.keys() == second.keys() == LIMITS.keys()
    for kind, names in second.items():
        assert not names & first[kind]
        assert max(map(len, names)) <= LIMITS[kind][1], kind


def test_what_a_company_has_is_taken_and_nothing_of_it_declared(account: Account) -> None:
    config = everything(account)
    config["aws"] |= HAD
    declared = account.provision(config)
    assert not [t for t in declared.types() if t.split(":")[1].split("/")[0] in ("iam", "kms", "ec2", "vpc", "ecr")]
    assert declared.of("model-chat")["executionRoleArn"] == f"{ROLE}/endpoint"
    assert declared.of("model-chat")["vpcConfig"] == {
        "subnets": ["subnet-1", "subnet-2"],
        "securityGroupIds": ["sg-1"],
    }
    assert declared.of("configuration-chat")["kmsKeyArn"] == f"{KEY}/data"
    assert declared.of("logs-chat")["kmsKeyId"] == f"{KEY}/data"
    assert declared.of("schedule-weekly")["target"]["roleArn"] == f"{ROLE}/scheduler"
    outputs = StackOutputs.parse(json.dumps(declared.outputs), where="outputs")
    assert outputs.aws
    assert outputs.aws.repositories["serving"] == f"{HAD['registry']}/serving"
    assert outputs.signing.private_key == f"awskms:///{KEY}/signing"


def test_given_buckets_are_used_as_they_are(account: Account) -> None:
    declared = account.provision({"aws": {"store_bucket": "our-store", "work_bucket": "our-work"}})
    assert not [t for t in declared.types() if t.startswith("aws:s3/")]
    assert declared.outputs["store"]["url"] == "s3://our-store"


@pytest.mark.parametrize("role", ["training", "endpoint", "scheduler"])
def test_each_role_can_be_given_alone(role: str, account: Account) -> None:
    declared = account.provision({"aws": {"roles": {role: f"{ROLE}/{role}"}}})
    others = {"training", "endpoint", "scheduler"} - {role}
    assert not declared.has(f"role-{role}")
    assert all(declared.has(f"role-{r}") for r in others)
    assert declared.outputs["aws"]["roles"][role] == f"{ROLE}/{role}"


def test_the_vpc_is_private(full: Declared) -> None:
    assert full.of("vpc")["enableDnsHostnames"] is True
    subnets = [full.of(f"private-{letter}") for letter in "ab"]
    assert [s["availabilityZone"] for s in subnets] == [f"{REGION}a", f"{REGION}b"]
    assert len({s["cidrBlock"] for s in subnets}) == 2
    assert not any(s["mapPublicIpOnLaunch"] for s in subnets)
    assert not [t for t in full.types() if "Gateway" in t.rpartition(":")[2]], "no way to the Internet"
    assert "routes" not in full.of("private-routes")
    interfaces = [i for u, i in full.resources.items() if "VpcEndpoint" in u and i["vpcEndpointType"] == "Interface"]
    assert {i["serviceName"].removeprefix(f"com.amazonaws.{REGION}.") for i in interfaces} == {
        "ecr.api", "ecr.dkr", "logs", "sts", "kms", "sagemaker.api", "sagemaker.runtime"
    }  # fmt: skip
    for interface in interfaces:
        assert interface["privateDnsEnabled"] is True
        assert interface["securityGroupIds"] == ["vpc-endpoints"]
        assert interface["subnetIds"] == ["private-a", "private-b"]
    assert full.of("vpc-endpoint-s3")["routeTableIds"] == ["private-routes"]
    assert full.of("workloads-to-s3")["prefixListId"] == "pl-s3"
    for rule in ("workloads-to-s3", "workloads-to-endpoints", "endpoints-from-workloads"):
        assert (full.of(rule)["fromPort"], full.of(rule)["toPort"]) == (443, 443)
        assert "cidrIpv4" not in full.of(rule)
    for rule in ("workloads-to-each-other", "workloads-from-each-other"):
        assert full.of(rule)["securityGroupId"] == full.of(rule)["referencedSecurityGroupId"] == "workloads"
        assert full.of(rule)["ipProtocol"] == "-1", "UDP 500 and ESP, where containers talk encrypted"
    flow = full.of("vpc-flow-log")
    assert (flow["trafficType"], flow["logDestinationType"]) == ("ALL", "s3")


def test_interface_endpoints_are_made_only_where_they_are_asked_for(account: Account) -> None:
    """Containers are isolated; SageMaker pulls images and writes logs itself, and S3's gateway costs nothing."""
    declared = account.provision({"aws": {"network": {"mode": "own"}}})
    assert declared.has("vpc-endpoint-s3")
    assert not [u for u in declared.resources if "VpcEndpoint" in u and not u.endswith("vpc-endpoint-s3")]
    assert not declared.has("vpc-endpoints")
    assert not declared.has("workloads-to-endpoints")


def test_a_schedule_starts_the_job_itself(full: Declared, account: Account) -> None:
    schedule = full.of("schedule-weekly")
    assert schedule["scheduleExpression"] == "cron(0 3 ? * SUN *)"
    assert schedule["kmsKeyArn"] == "arn:of:data-key (llmops down keeps it)"
    assert schedule["target"]["arn"] == "arn:aws:scheduler:::aws-sdk:sagemaker:createTrainingJob"
    job = json.loads(schedule["target"]["input"])
    name = job["TrainingJobName"]
    assert name.endswith("-<aws.scheduler.execution-id>")
    assert len(name.replace("<aws.scheduler.execution-id>", "0" * 36)) <= 63
    assert job["RoleArn"] == "arn:of:role-training"
    assert job["AlgorithmSpecification"]["TrainingImage"] == TRAINING
    assert (job["EnableNetworkIsolation"], job["EnableInterContainerTrafficEncryption"]) == (True, True)
    assert job["VpcConfig"] == {"Subnets": ["private-a", "private-b"], "SecurityGroupIds": ["workloads"]}
    assert job["ResourceConfig"]["VolumeKmsKeyId"] == job["OutputDataConfig"]["KmsKeyId"] == schedule["kmsKeyArn"]
    channels = {c["ChannelName"]: c["DataSource"]["S3DataSource"]["S3Uri"] for c in job["InputDataConfig"]}
    assert channels == {
        "spec": f"s3://{account.bucket('work')}/schedules/weekly/{RUN}/",
        "dataset": f"s3://{account.bucket('store')}/datasets/{'d' * 64}/",
        "base_model": f"s3://{account.bucket('store')}/models/{'b' * 64}/",
    }
    assert job["CheckpointConfig"]["S3Uri"] == f"s3://{account.bucket('work')}/runs/{name}/checkpoints"
    spec = full.of("schedule-weekly-spec")
    assert spec["key"] == f"schedules/weekly/{RUN}/run.json"
    assert json.loads(spec["content"])["id"] == RUN


def test_the_scheduled_job_is_one_that_sagemaker_takes(full: Declared) -> None:
    """botocore's own model of the call."""
    import boto3
    from botocore.validate import ParamValidator

    job = json.loads(full.of("schedule-weekly")["target"]["input"])
    shape = (
        boto3.client("sagemaker", region_name=REGION)
        .meta.service_model.operation_model("CreateTrainingJob")
        .input_shape
    )
    assert ParamValidator().validate(job, shape).generate_report() == ""


def test_a_schedule_of_a_run_that_is_not_there_is_refused(account: Account) -> None:
    schedules = {"weekly": {"run": "no-such-run", "cron": "rate(7 days)"}}
    with pytest.raises(pulumi.RunError) as refused:
        account.provision({"aws": {"schedules": schedules}})
    assert "llmops:aws.schedules.weekly.run: there is no run no-such-run" in str(refused.value)


@pytest.mark.vulnerability(5)
def test_vulnerability_5_a_run_json_that_its_job_rewrote_is_not_repeated(account: Account) -> None:
    run = "chatbot-rewritten"
    account.add_run(run)
    place = {"Bucket": account.bucket("work"), "Key": run_spec_key(run)}
    spec = json.loads(account.s3.get_object(**place)["Body"].read())
    spec["recipe"]["evaluation"]["gate"][0]["low"] = 0.1
    account.s3.put_object(**place, Body=json.dumps(spec))
    with pytest.raises(pulumi.RunError) as refused:
        account.provision({"aws": {"schedules": {"weekly": {"run": run, "cron": "rate(7 days)"}}}})
    assert "llmops:aws.schedules.weekly.run: " in str(refused.value)
    assert "is not what run chatbot-rewritten was submitted with" in str(refused.value)


def test_the_budget_tells_before_it_is_spent(full: Declared) -> None:
    budget = full.of("budget")
    assert (budget["limitAmount"], budget["limitUnit"], budget["timeUnit"]) == ("100.0", "USD", "MONTHLY")
    assert budget["costFilters"] == [{"name": "TagKeyValue", "values": ["user:llmops:cost$llmops/demo"]}]
    told = [(n["notificationType"], n["threshold"]) for n in budget["notifications"]]
    assert told == [("ACTUAL", 80), ("FORECASTED", 100)]
    for notification in budget["notifications"]:
        assert notification["subscriberEmailAddresses"] == ["you@example.com"]
        assert notification["subscriberSnsTopicArns"] == ["arn:of:alarms"]


def test_the_topic_is_encrypted_and_open_to_its_services_alone(full: Declared) -> None:
    assert full.of("alarms")["kmsMasterKeyId"] == "arn:of:data-key (llmops down keeps it)"
    allowed, denied = json.loads(full.of("alarms-policy")["policy"])["Statement"]
    assert allowed["Principal"] == {"Service": ["budgets.amazonaws.com", "cloudwatch.amazonaws.com"]}
    assert allowed["Condition"] == {"StringEquals": {"aws:SourceAccount": ACCOUNT}}
    assert denied["Effect"] == "Deny"
    assert denied["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_repositories_are_immutable_scanned_and_tidied(full: Declared) -> None:
    for name in ("training", "serving"):
        repository = full.of(f"repository-{name} (llmops down keeps it)")
        assert repository["imageTagMutability"] == "IMMUTABLE"
        assert repository["imageScanningConfiguration"] == {"scanOnPush": True}
        (encryption,) = repository["encryptionConfigurations"]
        assert encryption == {"encryptionType": "KMS", "kmsKey": "arn:of:data-key (llmops down keeps it)"}
        (rule,) = json.loads(full.of(f"repository-{name}-lifecycle (llmops down keeps it)")["policy"])["rules"]
        assert rule["selection"]["tagStatus"] == "untagged"


def test_this_machines_endpoints_are_taken_to_aws_by_changing_the_stack_alone(
    account: Account, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The comments of Pulumi.local.yaml show an endpoint: the same entry works on both targets, by one program."""
    monkeypatch.chdir(tmp_path)
    assert targets_of_one_entry(account) == ["local", "aws"]


@pytest.mark.scorecard("production")
def test_a_production_stack_declares_nothing_with_weak_settings(account: Account) -> None:
    with pytest.raises(pulumi.RunError) as refused:
        account.provision({"production": True})
    for key in ("permissions_boundary_arn", "network.mode", "budget.emails"):
        assert f"llmops:aws.{key}: with `production: true`: " in str(refused.value)
