"""AWS in a rehearsal: SageMaker's machines, IAM roles, CloudWatch alarms."""

import json
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmops_kit.cli.rehearsal.cloud import THEIRS, ByHand, Cloud, CloudCaller, QualityLog, Standing
from llmops_kit.cli.rehearsal.clouds.aws_inventory import each, inventory
from llmops_kit.cli.rehearsal.clouds.aws_standing import standing
from llmops_kit.cli.rehearsal.clouds.aws_twin import REGION, AwsTwin
from llmops_kit.cli.rehearsal.fault_case import cases_of
from llmops_kit.cli.rehearsal.leaks import Accepted
from llmops_kit.clouds.aws.names import SERVING
from llmops_kit.core.documents.outputs import AwsOutput, StackOutputs
from llmops_kit.core.errors import KitError
from llmops_kit.core.twins import ENDPOINT_VARIABLE, is_loopback

if TYPE_CHECKING:
    from llmops_kit.cli.platforms.aws.clients import AwsClients
    from llmops_kit.cli.rehearsal.questions import Question

_PROMOTERS = ("train", "runs", "models", "promote", "rollback", "invoke", "chat")
_JOBS_LOG = "log group /aws/sagemaker/TrainingJobs"  # one per account and region, which SageMaker creates
_ALARM_INPUTS = (
    *("AlarmName", "Namespace", "MetricName", "Dimensions", "Statistic", "ComparisonOperator", "Period"),
    *("EvaluationPeriods", "DatapointsToAlarm", "TreatMissingData", "AlarmActions", "OKActions", "AlarmDescription"),
)


class Aws(Cloud):
    """See llmops_kit.cli.rehearsal.cloud.Cloud."""

    target = "aws"
    title = "AWS"
    contract = "SageMaker InvokeEndpoint"
    extra = ("aws-twin", "twins", "moto", "flask", "boto3", "pulumi_aws")
    roles = ("preview", "deploy", "promote", "training", "endpoint", "scheduler")
    bearers = dict.fromkeys(_PROMOTERS, "promote")
    withheld = "ecr:CreateRepository"
    region = REGION
    instance_type = "ml.m5.xlarge"
    files = True
    rolls_back_silently = True
    faults = cases_of("aws")
    data_kinds = frozenset({"bucket", "alias", "repository"})
    running_kinds = frozenset({"endpoint", "configuration", "alarm", "role", "schedule", "topic"})
    holds_secrets = (
        Accepted("twin/root.secret", "the twin's root secret, of mode 0600"),
        Accepted("twin/registry/secret", "the secret of the twin's registry, of mode 0600"),
        Accepted("twin/state.log", "the twin's state: it emulates the account, which has its users' secrets"),
    )
    rolled_back_by = "-quality"

    @cached_property
    def _clients(self) -> "AwsClients":
        from llmops_kit.cli.platforms.aws.clients import AwsClients

        return AwsClients()

    def twin(self, home: Path) -> AwsTwin:
        """Returns the AWS twin: moto with a working SageMaker."""
        return AwsTwin(home)

    def require_loopback(self, environ: Mapping[str, str]) -> None:
        """Raises unless the variables of AWS clients point to this machine; without them, clients use AWS."""
        named = {n: v for n, v in environ.items() if n.startswith(ENDPOINT_VARIABLE)}
        for name, value in {ENDPOINT_VARIABLE: "", **named}.items():
            if not is_loopback(value):
                raise KitError(
                    f"{value or 'no address'} is not on this machine",
                    where=f"${name}",
                    fix="a rehearsal uses its own twin; `llmops smoke aws` uses your account",
                )

    def caller(self) -> CloudCaller:
        caller = self._clients.caller
        return CloudCaller(caller.arn, f"AWS account {caller.account}", caller.region, caller.twin)

    def held(self) -> dict[str, Any]:
        """See llmops_kit.cli.rehearsal.clouds.aws_inventory."""
        from llmops_kit.clouds.aws.errors import explained

        with explained("the inventory of the account"):
            found = inventory(self._clients, self.only)
        for name, document in found.items():
            if name.startswith("bucket ") and "-state-" in name:
                document.pop("keys", None)
        return found

    def is_of(self, thing: str, stack: str) -> bool:
        return f"-{stack}-" in thing

    def is_the_clouds(self, thing: str) -> bool:
        """Returns whether it is SageMaker's log group of all jobs."""
        return thing == _JOBS_LOG

    def make_theirs(self) -> None:
        """Creates somebody else's bucket with a file, key, role, topic and log group."""
        clients = self._clients
        clients("s3").create_bucket(Bucket=THEIRS)
        clients("s3").put_object(Bucket=THEIRS, Key="2026/november.csv", Body=b"name,amount\n")
        clients("kms").create_key(Description=THEIRS)
        statement = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
        trust = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        clients("iam").create_role(RoleName=THEIRS, AssumeRolePolicyDocument=trust)
        clients("sns").create_topic(Name=THEIRS)
        clients("logs").create_log_group(logGroupName=f"/{THEIRS}/nightly")

    def settings(self) -> dict[str, Any]:
        """Returns the region of this process's clients."""
        return {"region": self._clients.caller.region}

    def questions(self) -> "tuple[Question, ...]":
        """See llmops_kit.cli.rehearsal.clouds.questions_aws."""
        from llmops_kit.cli.rehearsal.clouds.questions_aws import QUESTIONS

        return QUESTIONS

    def remove_bootstrapped(self, project: str) -> None:
        """Removes the bucket of states with all versions; the key is scheduled for deletion."""
        from llmops_kit.cli.platforms.aws.bootstrap.removal import remove

        remove(self._clients, project)

    def bound(self, settings: dict[str, Any], boundary: str) -> None:
        settings["permissions_boundary_arn"] = boundary

    def roles_of(self, outputs: StackOutputs) -> dict[str, str]:
        return _aws(outputs).roles

    def interruptions(self, outputs: StackOutputs, run: str) -> int:
        """Returns how often the run's jobs were interrupted, as SageMaker reports it."""
        sagemaker, prefix = self._clients("sagemaker"), _aws(outputs).job_prefix
        names = [j["TrainingJobName"] for j in each(sagemaker, "list_training_jobs", "TrainingJobSummaries",
                                                    NameContains=prefix)]  # fmt: skip
        jobs = [sagemaker.describe_training_job(TrainingJobName=name) for name in names]
        mine = [job for job in jobs if run.rpartition("-")[2] in json.dumps(job, default=str)]
        return sum(t["Status"] == "Interrupted" for job in mine for t in job["SecondaryStatusTransitions"])

    def quality(self, outputs: StackOutputs, endpoint: str) -> Iterator[QualityLog]:
        group = f"/aws/sagemaker/Endpoints/{_aws(outputs).endpoints[endpoint]}"
        for event in each(self._clients("logs"), "filter_log_events", "events", logGroupName=group):
            if '"quality"' in event["message"]:
                said = json.loads(event["message"])
                yield QualityLog(event["timestamp"] / 1000, float(said["score"]), str(said["model"]))

    def quality_alarm(self, outputs: StackOutputs, endpoint: str) -> ByHand:
        cloudwatch, part = self._clients("cloudwatch"), f"-{outputs.stack}-{endpoint}-quality"
        alarm = next(
            alarm
            for alarm in each(cloudwatch, "describe_alarms", "MetricAlarms")
            if part in alarm["AlarmName"] and f"{part}{SERVING}" not in alarm["AlarmName"]
        )
        name, inputs = alarm["AlarmName"], {k: alarm[k] for k in _ALARM_INPUTS if k in alarm}
        return ByHand(
            name,
            alarm["Threshold"],
            lambda value: cloudwatch.put_metric_alarm(**inputs, Threshold=value),
            lambda: cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"][0]["Threshold"],
        )

    def asker(self, outputs: StackOutputs, endpoint: str) -> Callable[[bytes], bytes]:
        runtime, name = self._clients("sagemaker-runtime"), _aws(outputs).endpoints[endpoint]

        def ask(body: bytes) -> bytes:
            answer = runtime.invoke_endpoint(EndpointName=name, Body=body, ContentType="application/json")
            return answer["Body"].read()

        return ask

    def change_machines(self, entry: dict[str, Any]) -> None:
        entry["volume_gb"] = 20

    def hasten(self, entry: dict[str, Any]) -> None:
        """Changes nothing: SageMaker itself waits during a rollout, and its twin for a shorter time."""

    def standing(self) -> Iterator[Standing]:
        """Yields the instances of endpoints and jobs, which cause nearly all costs."""
        from llmops_kit.clouds.aws.errors import explained

        with explained("the list of billed machines"):
            yield from standing(self._clients("sagemaker"), self.only)


def _aws(outputs: StackOutputs) -> AwsOutput:
    assert outputs.aws
    return outputs.aws
