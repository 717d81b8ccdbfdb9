"""`llmops images` against a twin's registry, and an endpoint of the twin that runs what was pushed."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llmops_kit.cli.images.stack_images import tag_of
from llmops_kit.cli.stacks.stack_file import StackFile
from llmops_kit.local_runtime import containers
from llmops_twins.aws import control
from tests.containers.conftest import docker
from tests.containers.serving.test_image import QUESTION, VARIABLES
from tests.support.checkout import CHECKOUT
from tests.support.clouds.aws import REGION, Account, running_account
from tests.support.servers.serving import sign_version, until
from tests.support.stacks import Stack
from tests.support.tiny_models.models import copy_model, tiny_model

pytestmark = pytest.mark.docker
HOST = f"000000000000.dkr.ecr.{REGION}.amazonaws.com"
REPOSITORIES = {"serving": f"{HOST}/kit-dev-serving", "training": f"{HOST}/kit-dev-training"}
OUTPUTS = {
    "schema": "stack-outputs/1",
    "target": "aws",
    "stack": "aws-dev",
    "project": "",
    "store": {"url": "s3://models"},
    "signing": {"private_key": "awskms:///k", "public_key": "PEM"},
    "training": {"image": "", "runs": "s3://work/runs"},
    "aws": {"account": "000000000000", "region": REGION, "twin": True, "repositories": REPOSITORIES},
}
TRUST = {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
EVERYTHING = {"Effect": "Allow", "Action": "*", "Resource": "*"}


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory, base: str) -> Iterator[Account]:
    with running_account(tmp_path_factory.mktemp("aws"), containers="run", pace=0.05) as made:
        made.environ[containers.BASE_VARIABLE] = base
        yield made
        control.reset(made.home)
        port = made.environ["AWS_ENDPOINT_URL"].rpartition(":")[2]
        assert not [name for name in _names() if f":{port}/" in name]


@pytest.fixture(scope="module")
def stack(account: Account, tmp_path_factory: pytest.TempPathFactory) -> Stack:
    """A stack whose program only says what its repositories would be."""
    made = Stack(tmp_path_factory.mktemp("stack") / "project", "aws-dev", account.environ, settings={"target": "aws"})
    made.make()
    exports = [f"pulumi.export({name!r}, {value!r})" for name, value in OUTPUTS.items()]
    (made.folder / "__main__.py").write_text("\n".join(["import pulumi", *exports, ""]))
    return made


def page() -> list[list[str]]:
    """The commands of docs/how-to/images.md, without `llmops` and the stack."""
    (block,) = re.findall(r"```bash\n(.*?)```", (CHECKOUT / "docs/how-to/images.md").read_text(), re.DOTALL)
    return [line.removesuffix(" --stack aws-dev").split()[1:] for line in block.splitlines()]


def llmops(stack: Stack, *arguments: str, code: int = 0) -> str:
    command = [sys.executable, "-m", "llmops_kit.cli", *arguments, "--stack", "aws-dev"]
    done = subprocess.run(command, cwd=stack.folder, env=stack.environ, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def repository(account: Account, stack: Stack, built: Callable[[str], str]) -> str:
    """The serving image's, after the fix of each error was taken."""
    local = built("serving")
    assert "fix: `llmops up" in llmops(stack, "images", "push", "serving", code=1)
    stack.pulumi("up", "--yes", "--skip-preview")
    assert "there is no such repository" in llmops(stack, "images", "push", "serving", code=1)
    account.client("ecr").create_repository(repositoryName="kit-dev-serving", imageTagMutability="IMMUTABLE")
    build, _ = page()
    assert llmops(stack, *build).startswith(f"docker:serving@{local}\n")
    return "kit-dev-serving"


@pytest.fixture(scope="module")
def pushed(stack: Stack, repository: str) -> str:
    """The reference that the stack file has now."""
    _, push = page()
    assert "pushed" in llmops(stack, *push)
    return StackFile(stack.folder / "Pulumi.aws-dev.yaml").settings("images").images.serving


def test_who_may_not_push_is_told_the_action(account: Account, stack: Stack, repository: str) -> None:
    iam = account.client("iam")
    iam.create_user(UserName="reader")
    statement = {"Effect": "Allow", "Action": ["ecr:GetAuthorizationToken", "ecr:BatchGetImage"], "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_user_policy(UserName="reader", PolicyName="read", PolicyDocument=document)
    key = iam.create_access_key(UserName="reader")["AccessKey"]
    credentials = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
    reader = Stack(stack.folder, "aws-dev", {**stack.environ, **credentials})
    text = llmops(reader, "images", "push", "serving", code=1)
    assert "user/reader is not authorized to perform: ecr:" in text
    assert "fix: `llmops plan --policy`" in text
    assert account.client("ecr").list_images(repositoryName=repository)["imageIds"] == []


@pytest.mark.scorecard("sbom")
def test_an_image_is_pushed_once_and_written_down_by_its_digest(
    account: Account, stack: Stack, repository: str, pushed: str
) -> None:
    ecr, tag = account.client("ecr"), tag_of("serving")
    details = ecr.describe_images(repositoryName="kit-dev-serving")["imageDetails"]
    (found,) = [each for each in details if (each.get("imageTags") or [""])[0].startswith(tag)]
    assert pushed == f"{REPOSITORIES['serving']}@{found['imageDigest']}"
    # The others are the SBOM and, as the twin's registry has no referrers API, the list that names it.
    listed = f"sha256-{found['imageDigest'].removeprefix('sha256:')}"
    assert sorted(each.get("imageTags") or [] for each in details) == sorted([[], found["imageTags"], [listed]])
    assert found["imageManifestMediaType"] == "application/vnd.docker.distribution.manifest.v2+json"
    text = llmops(stack, "images", "push", "serving")
    assert "exists already" in text
    assert "already has these images" in text
    assert "pushing" not in text
    assert "SBOM" not in text
    port = account.environ["AWS_ENDPOINT_URL"].rpartition(":")[2]
    assert f"127.0.0.1:{port}/{repository}" not in _names()


def test_an_endpoint_of_the_twin_serves_what_was_pushed(account: Account, pushed: str, tmp_path: Path) -> None:
    s3, sagemaker = account.client("s3"), account.client("sagemaker")
    identity = sign_version(copy_model(tiny_model(), tmp_path / "model"), tmp_path)
    s3.create_bucket(Bucket="models", CreateBucketConfiguration={"LocationConstraint": REGION})
    for path in filter(Path.is_file, (tmp_path / "model").rglob("*")):
        s3.upload_file(str(path), "models", f"tiny/{path.relative_to(tmp_path / 'model')}")
    variables = VARIABLES | {
        "LLMOPS_MODEL_SHA256": identity,
        "LLMOPS_PUBLIC_KEY": (tmp_path / "signing.pub").read_text(),
    }
    source = {"S3Uri": "s3://models/tiny/", "S3DataType": "S3Prefix", "CompressionType": "None"}
    container = {"Image": pushed, "ModelDataSource": {"S3DataSource": source}, "Environment": variables}
    sagemaker.create_model(ModelName="tiny", ExecutionRoleArn=_role(account), PrimaryContainer=container)
    variant = {"VariantName": "main", "ModelName": "tiny", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    sagemaker.create_endpoint_config(EndpointConfigName="tiny", ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName="tiny", EndpointConfigName="tiny")
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName="tiny", WaiterConfig={"Delay": 1, "MaxAttempts": 120})
    answer = account.client("sagemaker-runtime").invoke_endpoint(
        EndpointName="tiny", Body=json.dumps(QUESTION), ContentType="application/json"
    )
    assert json.loads(answer["Body"].read())["usage"]["completion_tokens"] == QUESTION["max_tokens"]
    (running,) = _containers_of(pushed)
    assert docker("exec", running, "id", "-u") == "10001"
    sagemaker.delete_endpoint(EndpointName="tiny")
    until(lambda: _containers_of(pushed) == [])


def _names() -> list[str]:
    return docker("images", "--digests", "--format", "{{.Repository}}").split()


def _containers_of(image: str) -> list[str]:
    lines = docker("ps", "--all", "--no-trunc", "--format", "{{.ID}} {{.Image}}").splitlines()
    return [line.split()[0] for line in lines if line.endswith(image.partition("/")[2])]


def _role(account: Account) -> str:
    iam = account.client("iam")
    trust, all_of_it = ({"Version": "2012-10-17", "Statement": [s]} for s in (TRUST, EVERYTHING))
    arn = iam.create_role(RoleName="serving", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    iam.put_role_policy(RoleName="serving", PolicyName="all", PolicyDocument=json.dumps(all_of_it))
    return arn
