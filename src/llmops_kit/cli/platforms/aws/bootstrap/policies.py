"""Policies of bootstrap's roles that don't deploy (preview and promote), and the trust policy of all roles."""

from llmops_kit.cli.platforms.aws.bootstrap.names import AwsNames
from llmops_kit.cli.platforms.aws.bootstrap.reach import Reach
from llmops_kit.cli.platforms.aws.use_policy import INVOKE, RUNS, STORE
from llmops_kit.clouds.aws.names import ENDPOINT_LOGS, JOB_LOGS, SAGEMAKER, dns_suffix
from llmops_kit.clouds.aws.policies import Policy, Statement, allow, deny, policy

GITHUB = "token.actions.githubusercontent.com"
_READS = {
    "application-autoscaling": "Describe* Get* List*",
    "budgets": "Describe* List* ViewBudget",
    "cloudwatch": "Describe* Get* List*",
    "ecr": "Describe* Get* List*",
    "logs": "Describe* Get* List*",
    "sagemaker": "Describe* Get* List*",
    "scheduler": "Get* List*",
    "servicequotas": "Get* List*",
    "sns": "Get* List*",
}
_READ_S3 = "s3: GetBucket* Get*Configuration ListBucket*"
_VERSION_METADATA = (
    "aliases/*",
    "promotions/*",
    "rejections/*",
    "revoked/*",
    "models/*/manifest.json",
    "datasets/*/manifest.json",
    "endpoints/*",
)
_RUN_METADATA = ("runs/*/run.json", "runs/*/output/*/manifest.json", "schedules/*")


def trust(names: AwsNames, subjects: list[str]) -> Policy:
    """Returns a trust policy for workflows of one repository, from the given refs and environments only.

    https://docs.github.com/en/actions/security-for-github-actions/security-hardening-your-deployments

    Args:
        names: of the account.
        subjects: of the tokens (llmops_kit.cli.platforms.github).
    """
    statement: Statement = {
        "Effect": "Allow",
        "Principal": {"Federated": provider_arn(names)},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {"StringEquals": {f"{GITHUB}:aud": "sts.amazonaws.com", f"{GITHUB}:sub": subjects}},
    }
    return policy(statement)


def provider_arn(names: AwsNames) -> str:
    """Returns the ARN of the account's OIDC provider for GitHub."""
    return f"arn:{names.partition}:iam::{names.account}:oidc-provider/{GITHUB}"


def preview_policy(reach: Reach) -> Policy:
    """Allows the reads of `pulumi preview` and of a review: states, resources, and metadata of versions and runs. No
    rows and no weights.
    """
    describe = [f"{service}: {verbs}" for service, verbs in _READS.items()]
    return policy(
        allow([*describe, "sts: GetCallerIdentity"], "*"),
        allow(["kms: DescribeKey GetKey* GetPublicKey List*", "ec2: Describe*"], "*"),
        allow([_READ_S3], "*", **reach.own),
        allow(["iam: Get* List*"], reach.roles),
        allow(["s3: GetObject"], [*reach.buckets(*_VERSION_METADATA, *_RUN_METADATA), reach.state[1]], **reach.own),
        allow(["kms: Decrypt"], [reach.key, *reach.given.keys]),
        allow(["kms: Decrypt"], reach.keys, StringEquals={**reach.ours, "kms:ViaService": _s3(reach.names)}),
        deny(["ecr: GetDownloadUrlForLayer", "logs: GetLogEvents GetQueryResults"], "*"),
    )


def promote_policy(reach: Reach) -> Policy:
    """Allows `llmops train`, `runs collect`, `models` and `promote` on all stacks of the project, signing included.

    Only this role of bootstrap has `kms:Sign`. It can change neither resources that the program declares nor roles.
    """
    prefixes = tuple(f"{folder}/*" for folder in (*STORE, *RUNS))
    state = reach.state
    return policy(
        allow(["s3: AbortMultipartUpload GetObject PutObject"], reach.buckets(*prefixes), **reach.own),
        allow(["s3: GetObject"], [*reach.buckets("store.json", "schedules/*"), state[1]], **reach.own),
        allow(["s3: ListBucket"], reach.buckets(), **reach.own),
        allow(["kms: Decrypt"], reach.key),
        allow(["kms: Decrypt DescribeKey GenerateDataKey GetPublicKey Sign"], reach.keys, StringEquals=reach.ours),
        *_given_keys(reach),
        allow(["secretsmanager: GetSecretValue"], reach.arn("secretsmanager", f"secret:{reach.names.project}/*")),
        allow(["sagemaker: AddTags CreateTrainingJob DescribeTrainingJob StopTrainingJob"], reach.jobs),
        allow(["sagemaker: ListModelPackages ListTrainingJobs", "sts: GetCallerIdentity"], "*"),
        allow(["servicequotas: ListAWSDefaultServiceQuotas ListServiceQuotas"], "*"),
        allow(
            ["iam: PassRole"],
            [*reach.roles, *reach.given.roles],
            StringEquals={"iam:PassedToService": SAGEMAKER},
        ),
        allow(["logs: DescribeLogStreams GetLogEvents"], reach.arn("logs", f"log-group:{JOB_LOGS}:*")),
        allow(["logs: FilterLogEvents"], reach.named("logs", f"log-group:{ENDPOINT_LOGS}/")),
        allow(
            ["sagemaker: CreateModelPackage"],
            reach.named("sagemaker", "model-package-group/", "model-package/"),
        ),
        allow(
            [f"sagemaker: {' '.join(INVOKE)} DescribeEndpoint DescribeEndpointConfig DescribeModel"],
            reach.named("sagemaker", "endpoint/", "endpoint-config/", "model/"),
        ),
        allow(["sagemaker: CallWithBearerToken"], "*"),
        deny(["s3: Delete* Put*"], state),  # the state bucket's name begins like those of the project's buckets
    )


def _given_keys(reach: Reach) -> list[Statement]:
    found = []
    if reach.given.keys:
        found.append(allow(["kms: Decrypt GenerateDataKey"], [*reach.given.keys]))
    if reach.given.signing_keys:
        found.append(allow(["kms: GetPublicKey Sign"], [*reach.given.signing_keys]))
    return found


def _s3(names: AwsNames) -> str:
    """Returns S3's name in `kms:ViaService`."""
    return f"s3.{names.region}.{dns_suffix(names.partition)}"
