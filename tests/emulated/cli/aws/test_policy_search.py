"""The policies of bootstrap, searched breadth first: no chain of calls leads from a role of the project out of it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from llmops_kit.cli.platforms.aws.bootstrap.boundary import boundary
from llmops_kit.cli.platforms.aws.bootstrap.deploy import deploy_boundary, deploy_policy
from llmops_kit.cli.platforms.aws.bootstrap.names import AwsNames
from llmops_kit.cli.platforms.aws.bootstrap.policies import GITHUB, preview_policy, promote_policy
from llmops_kit.cli.platforms.aws.bootstrap.reach import Reach
from llmops_kit.cli.platforms.aws.use_policy import use_policy
from llmops_kit.core.documents.outputs import StackOutputs
from llmops_twins.aws.policy_evaluator.evaluator import Evaluator
from llmops_twins.aws.policy_evaluator.installation import Installation, install
from tests.support.clouds.policy_search import Search, iam_writes, writes
from tests.support.clouds.policy_world import ACCOUNT, ADMINISTRATOR, EVERYTHING, REGION, Context, Key, Role, World

NAMES = AwsNames("llmops", ACCOUNT, REGION)
STATE_KEY, DATA_KEY, SIGNING_KEY, THEIR_KEY = (
    f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{name}" for name in ("state", "data", "signing", "payroll")
)
REACH = Reach(NAMES, STATE_KEY)
IAM = f"arn:aws:iam::{ACCOUNT}"
DEPLOY, PROMOTE, PREVIEW = (f"{IAM}:role{NAMES.ci_path}llmops-{k}-acme-bot" for k in ("deploy", "promote", "preview"))
ADMIN, THEIRS = f"{IAM}:role/admin", f"{IAM}:role/llmops-kit/payroll/training"
TRAINING, SCHEDULER = (f"{IAM}:role{NAMES.role_path}llmops-dev-{k}" for k in ("training", "scheduler"))
STATE_BUCKET = f"arn:aws:s3:::{NAMES.bucket}"
MADE = f"{IAM}:role{NAMES.role_path}llmops-made"
NOTHING = json.dumps({"Version": "2012-10-17", "Statement": []})
OLD = json.loads((Path(__file__).parent / "vulnerable_policies.json").read_text())


@pytest.fixture(scope="module")
def installation() -> Installation:
    return install()


@pytest.fixture(scope="module")
def evaluator(installation: Installation) -> Iterator[Evaluator]:
    made = Evaluator(installation)
    yield made
    made.close()


def trust(principal: dict[str, Any], action: str = "sts:AssumeRole") -> str:
    statement = {"Effect": "Allow", "Principal": principal, "Action": action}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def world(
    deploy: dict[str, Any] | None = None,
    limits: tuple[dict[str, Any], dict[str, Any]] | None = None,
    more: Role | None = None,
) -> World:
    """An account with an administrator, another project, the workflows' roles, and a stack's own roles.

    Args:
        deploy: the deploy role's policy; None: bootstrap's.
        limits: the boundaries of the deploy role and of what it makes; None: bootstrap's.
        more: one role more.
    """
    of_deploy, of_stacks = limits or (deploy_boundary(REACH), boundary(REACH))
    service = trust({"Service": ["sagemaker.amazonaws.com", "scheduler.amazonaws.com"]})
    github = trust({"Federated": f"{IAM}:oidc-provider/{GITHUB}"}, "sts:AssumeRoleWithWebIdentity")
    roles = [
        Role(DEPLOY, github, [json.dumps(deploy or deploy_policy(REACH))], NAMES.deploy_boundary_arn),
        Role(PROMOTE, github, [json.dumps(promote_policy(REACH))]),
        Role(PREVIEW, github, [json.dumps(preview_policy(REACH))]),
        Role(ADMIN, trust({"AWS": f"{IAM}:root"}), [EVERYTHING]),
        Role(THEIRS, service, [EVERYTHING]),
        *(Role(arn, service, [NOTHING], NAMES.boundary_arn) for arn in (TRAINING, SCHEDULER)),
        *([more] if more else []),
    ]
    managed = {
        NAMES.boundary_arn: [json.dumps(of_stacks)],
        NAMES.deploy_boundary_arn: [json.dumps(OLD["boundary"]), json.dumps(of_deploy)],
        ADMINISTRATOR: [EVERYTHING],
    }
    keys = [
        Key(STATE_KEY, {"llmops:managed-by": "bootstrap"}, ["alias/llmops-state"]),
        Key(DATA_KEY, {"llmops:project": "llmops"}, ["alias/llmops-dev-data-1"]),
        Key(SIGNING_KEY, {"llmops:project": "llmops"}, ["alias/llmops-dev-signing-1"], "SIGN_VERIFY"),
        Key(THEIR_KEY, {}, ["alias/payroll"]),
    ]
    buckets: dict[str, str | None] = dict.fromkeys((NAMES.bucket, "llmops-dev-store-1", "payroll-data"))
    return World({role.arn: role for role in roles}, managed, {key.arn: key for key in keys}, buckets)


def goals(data: Path) -> list[tuple[str, str, Context]]:
    """What must be in no one's reach: changes of principals outside of the path, the states' key and bucket, others'
    data, signatures, and services that the project has no business with.
    """
    users, policies = [f"{IAM}:user/root-like"], [NAMES.boundary_arn, NAMES.deploy_boundary_arn, f"{IAM}:policy/theirs"]
    targets = {
        "role": [ADMIN, THEIRS, DEPLOY, PROMOTE, f"{IAM}:role/llmops-x"],
        "user": users,
        "group": [f"{IAM}:group/admins"],
        "policy": policies,
        "oidc-provider": [f"{IAM}:oidc-provider/token.actions.githubusercontent.com"],
        "saml-provider": [f"{IAM}:saml-provider/x"],
        "instance-profile": [f"{IAM}:instance-profile/x"],
    }
    context: Context = {"iam:PassedToService": "sagemaker.amazonaws.com", "iam:PolicyARN": ADMINISTRATOR}
    bounded: Context = context | {"iam:PermissionsBoundary": NAMES.boundary_arn}
    found: list[tuple[str, str, Context]] = []
    for action, resource in iam_writes(data, targets):
        found += [(action, resource, context), (action, resource, bounded)]
    found += [("sts:AssumeRole", arn, {}) for arn in (ADMIN, THEIRS, PROMOTE)]
    hurt = [
        *writes(data, "s3", "bucket", STATE_BUCKET),
        *writes(data, "s3", "object", f"{STATE_BUCKET}/.pulumi/stacks/llmops/dev.json"),
        *writes(data, "kms", "key", STATE_KEY),
        *writes(data, "kms", "alias", f"arn:aws:kms:{REGION}:{ACCOUNT}:{NAMES.alias}"),
        *writes(data, "kms", "key", THEIR_KEY),
        *writes(data, "s3", "bucket", "arn:aws:s3:::payroll-data"),
        ("kms:Sign", SIGNING_KEY),
        ("kms:PutKeyPolicy", SIGNING_KEY),
        ("kms:CreateGrant", SIGNING_KEY),
        ("kms:Decrypt", THEIR_KEY),
        ("s3:GetObject", "arn:aws:s3:::payroll-data/2026.csv"),
        ("secretsmanager:GetSecretValue", f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:payroll-abcdef"),
        ("lambda:CreateFunction", f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:llmops-x"),
        ("ec2:RunInstances", f"arn:aws:ec2:{REGION}:{ACCOUNT}:instance/*"),
        ("ec2:AuthorizeSecurityGroupIngress", f"arn:aws:ec2:{REGION}:{ACCOUNT}:security-group/sg-1"),
        ("sagemaker:DeleteEndpoint", f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:endpoint/payroll-chat"),
        ("organizations:LeaveOrganization", "*"),
        ("cloudtrail:StopLogging", f"arn:aws:cloudtrail:{REGION}:{ACCOUNT}:trail/all"),
    ]
    tagged: Context = {"aws:RequestTag/llmops:project": "llmops", "aws:TagKeys": ["llmops:project"]}
    things = ("vpc/vpc-1", "security-group/sg-1", "subnet/subnet-1")
    found += [("ec2:CreateTags", f"arn:aws:ec2:{REGION}:{ACCOUNT}:{thing}", tagged) for thing in things]
    return found + [(action, resource, {}) for action, resource in hurt]


OF_DEPLOY = frozenset(
    {
        *((f"s3:{a}", f"{STATE_BUCKET}/.pulumi/stacks/llmops/dev.json") for a in ("PutObject", "DeleteObject")),
        *((f"kms:{a}", STATE_KEY) for a in ("Decrypt", "Encrypt", "GenerateDataKey")),
    }
)
"""What writes states and their secrets, and can't lose them: old versions stay."""
OF_PROMOTE = frozenset({("kms:Sign", SIGNING_KEY), ("kms:Decrypt", STATE_KEY)})


MakeSearch = Callable[..., Search]


def search_of(evaluator: Evaluator, asked: list[tuple[str, str, Context]]) -> MakeSearch:
    """Searches an account from a role, the deploy role where none is said."""

    def run(account: World, start: str = DEPLOY, of_start: frozenset[tuple[str, str]] = OF_DEPLOY) -> Search:
        paths = (NAMES.role_path, "/", NAMES.ci_path, "/llmops-kit/payroll/")
        ours = f"{IAM}:role{NAMES.role_path}"
        return Search(evaluator, account, start, ours, paths, NAMES.boundary_arn, [*asked], of_start)

    return run


@pytest.fixture
def search(evaluator: Evaluator, installation: Installation) -> MakeSearch:
    return search_of(evaluator, goals(installation.data))


@pytest.mark.vulnerability(2)
def test_vulnerability_2_the_search_finds_the_way_out_of_the_old_policies(search: MakeSearch) -> None:
    """A bounded role rewrites the trust of a role of others, and is let in."""
    account = world(OLD["deploy"], (OLD["boundary"], OLD["boundary"]))
    start, payroll = (f"{IAM}:role/{name}" for name in ("llmops-deploy-acme-bot", "payroll"))
    deploy, others = account.roles[DEPLOY], account.roles[THEIRS]
    account.roles.clear()  # roles had no path, and the stack has none yet
    account.roles[start] = Role(start, deploy.trust, deploy.policies, NAMES.boundary_arn)
    account.roles[payroll] = Role(payroll, others.trust, others.policies)
    found = search(account, start)
    found.ours = f"{IAM}:role/llmops-"
    found.goals = []  # they are nearer than another principal
    way = found.way_out()
    assert way[1].startswith("CreateRole")
    assert way[1].endswith(f"with boundary policy/{NAMES.boundary}")
    assert way[2].startswith("PutRolePolicy")
    assert way[-2] == "UpdateAssumeRolePolicy role/payroll"
    assert way[-1].split()[:2] in (["AssumeRole", "role/payroll"], ["PassRole", "role/payroll"])


@pytest.mark.vulnerability(2)
@pytest.mark.vulnerability(12)
@pytest.mark.parametrize(
    ("start", "own"), [(DEPLOY, OF_DEPLOY), (PROMOTE, OF_PROMOTE), (PREVIEW, frozenset([("kms:Decrypt", STATE_KEY)]))]
)
def test_vulnerability_2_no_chain_of_calls_leads_from_a_workflows_role_out_of_the_project(
    search: MakeSearch, start: str, own: frozenset[tuple[str, str]]
) -> None:
    found = search(world(), start, own)
    assert found.way_out() == []
    if start == DEPLOY:  # it makes roles of the path and uses them: that the search sees this is no proof of more
        assert len(found.controlled() - {DEPLOY}) >= 3


@pytest.mark.vulnerability(2)
def test_vulnerability_2_a_role_that_may_do_everything_and_lets_everybody_in_is_held_by_the_boundary(
    search: MakeSearch,
) -> None:
    open_to_all = trust({"AWS": "*"})
    account = world(more=Role(MADE, open_to_all, [EVERYTHING], NAMES.boundary_arn))
    assert search(account, MADE, frozenset()).way_out() == []


@pytest.mark.vulnerability(2)
def test_vulnerability_2_who_uses_a_stack_does_not_get_out(search: MakeSearch) -> None:
    outputs = StackOutputs.new(
        target="aws",
        stack="dev",
        project="llmops",
        store={"url": "s3://llmops-dev-store-1"},
        signing={"private_key": f"awskms:///{SIGNING_KEY}", "public_key": "-"},
        training={"image": "", "runs": "s3://llmops-dev-work-1/runs"},
        aws={
            "account": ACCOUNT,
            "region": REGION,
            "twin": False,
            "kms_key": DATA_KEY,
            "work_bucket": "llmops-dev-work-1",
            "roles": {"training": TRAINING},
            "model_package_group": "llmops-dev-models-1",
            "job_prefix": "llmops-dev-run-1",
            "endpoints": {"chat": "llmops-dev-chat-1"},
        },
    )
    user = Role(f"{IAM}:role/people", trust({"AWS": "*"}), [json.dumps(use_policy(outputs))])
    found = search(world(more=user), user.arn, frozenset([("kms:Sign", SIGNING_KEY)]))
    assert found.way_out() == []
    assert found.controlled() == {user.arn, TRAINING}


def dropped(document: dict[str, Any], effect: str, action: str) -> dict[str, Any]:
    """Without the statements of an effect that name an action."""
    kept = [
        s for s in document["Statement"] if s["Effect"] != effect or action not in s.get("Action", s.get("NotAction"))
    ]
    assert len(kept) < len(document["Statement"])
    return {**document, "Statement": kept}


def opened(document: dict[str, Any], action: str, **changed: Any) -> dict[str, Any]:
    """With other members in the statements that allow an action; None removes one."""
    changes = {key: value for key, value in changed.items() if value is not None}
    found = [
        {k: v for k, v in s.items() if k not in changed} | changes
        if s["Effect"] == "Allow" and action in s["Action"]
        else s
        for s in document["Statement"]
    ]
    assert found != document["Statement"]
    return {**document, "Statement": found}


ALL_ROLES = f"{IAM}:role/*"


@pytest.mark.parametrize(
    ("change", "step"),
    [
        (lambda d: opened(d, "iam:CreateRole", Condition=None), "PermissionsBoundary"),
        (lambda d: opened(d, "iam:UpdateAssumeRolePolicy", Resource=ALL_ROLES), "iam:"),
        (lambda d: opened(d, "iam:PassRole", Resource=ALL_ROLES), "iam:PassRole"),
        (lambda d: dropped(d, "Deny", "s3:PutObject"), STATE_BUCKET),
        (lambda d: dropped(d, "Deny", "kms:TagResource"), "kms:"),
        (lambda d: dropped(d, "Deny", "kms:Sign"), "kms:Sign"),
    ],
    ids=["no boundary asked", "every role", "every role passed", "states open", "others' keys tagged", "signs"],
)
def test_the_search_finds_each_hole_that_is_made(search: MakeSearch, change: Callable[[Any], Any], step: str) -> None:
    way = search(world(json.loads(EVERYTHING), (change(deploy_boundary(REACH)), boundary(REACH)))).way_out()
    assert any(step in each for each in way), way


@pytest.mark.vulnerability(2)
def test_vulnerability_2_the_boundary_holds_whatever_policy_the_deploy_role_is_given(search: MakeSearch) -> None:
    assert search(world(json.loads(EVERYTHING))).way_out() == []


def test_a_key_of_others_without_a_tag_and_without_an_alias_is_not_held(search: MakeSearch) -> None:
    """What docs/how-to/ci.md says that the policies can't do: AWS lets a key be tagged when it is made only by who may
    tag each key. Such a key is taken for a new one.
    """
    account = world()
    account.keys[THEIR_KEY].aliases.clear()
    assert f"kms:TagResource on {THEIR_KEY}" in search(account).way_out()[-1]
