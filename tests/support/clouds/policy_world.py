"""An AWS account as a search over its policies sees it: roles, managed policies, keys and buckets, and who may do what.

Nothing here decides: every question goes to the evaluator that the twin of AWS judges calls by
(twins/llmops_twins/aws/judges).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from llmops_twins.aws.policy_evaluator.evaluator import Evaluator, PolicyQuestion

ACCOUNT, REGION = "123456789012", "eu-central-1"
EVERYTHING = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]})
ADMINISTRATOR = "arn:aws:iam::aws:policy/AdministratorAccess"
Context = dict[str, str | list[str]]


@dataclass(frozen=True)
class Fact:
    """Something that the attacker achieved, and what it took."""

    label: str
    because: tuple["Fact", ...] = ()

    def story(self) -> list[str]:
        """The steps that lead here, the first one first."""
        told: dict[str, None] = {}

        def tell(fact: "Fact") -> None:
            for each in fact.because:
                tell(each)
            told.setdefault(fact.label)

        tell(self)
        return list(told)


@dataclass
class Role:
    """`boundary` is an ARN; `facts` are the attacker's changes of it."""

    arn: str
    trust: str
    policies: list[str] = field(default_factory=list)
    boundary: str = ""
    facts: list[Fact] = field(default_factory=list)

    @property
    def session(self) -> str:
        """ARN of a session of it."""
        return f"arn:aws:sts::{ACCOUNT}:assumed-role/{self.arn.rpartition('/')[2]}/attacker"


@dataclass
class Key:
    """A KMS key; its policy leaves it to the account's IAM unless somebody writes another."""

    arn: str
    tags: dict[str, str] = field(default_factory=dict)
    aliases: list[str] = field(default_factory=list)
    usage: str = "ENCRYPT_DECRYPT"
    policy: str = json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
                    "Action": "kms:*",
                    "Resource": "*",
                }
            ],
        }
    )
    facts: list[Fact] = field(default_factory=list)

    @property
    def context(self) -> Context:
        """Condition keys that hold for any use of it."""
        found: Context = {f"aws:ResourceTag/{name}": value for name, value in self.tags.items()}
        found["kms:KeyUsage"] = self.usage
        return found | ({"kms:ResourceAliases": self.aliases} if self.aliases else {})


@dataclass
class World:
    """The account. `managed`: ARN -> versions of a managed policy, the default one last."""

    roles: dict[str, Role]
    managed: dict[str, list[str]]
    keys: dict[str, Key]
    buckets: dict[str, str | None]

    def open_trust(self) -> str:
        """A trust policy that lets every principal and service in, by name too, as a name takes no identity policy."""
        names = [*self.roles, *(role.session for role in self.roles.values())]
        allowed = {"Effect": "Allow", "Action": ["sts:AssumeRole", "sts:TagSession"]}
        principals: list[dict[str, Any]] = [{"AWS": "*"}, {"AWS": sorted(names)}, {"Service": list(SERVICES)}]
        return json.dumps({"Version": "2012-10-17", "Statement": [allowed | {"Principal": p} for p in principals]})


_CALLS = """\
sagemaker sagemaker:CreateTrainingJob sagemaker:{here}:training-job/{name}
sagemaker sagemaker:CreateProcessingJob sagemaker:{here}:processing-job/{name}
sagemaker sagemaker:CreateNotebookInstance sagemaker:{here}:notebook-instance/{name}
sagemaker sagemaker:CreateModel sagemaker:{here}:model/{name}
scheduler scheduler:CreateSchedule scheduler:{here}:schedule/{name}/x
lambda lambda:CreateFunction lambda:{here}:function:{name}
ec2 ec2:RunInstances ec2:{here}:instance/*
cloudformation cloudformation:CreateStack cloudformation:{here}:stack/{name}/x
events events:PutTargets events:{here}:rule/{name}
glue glue:CreateJob glue:{here}:job/{name}
codebuild codebuild:CreateProject codebuild:{here}:project/{name}
states states:CreateStateMachine states:{here}:stateMachine:{name}
ecs-tasks ecs:RunTask ecs:{here}:task-definition/{name}:1
budgets budgets:CreateBudgetAction budgets::{account}:budget/{name}/action/*
logs logs:PutSubscriptionFilter logs:{here}:log-group:/aws/sagemaker/Endpoints/{name}:log-stream:
s3 s3:PutReplicationConfiguration s3:::{name}
application-autoscaling application-autoscaling:RegisterScalableTarget application-autoscaling:{here}:scalable-target/*
"""
SERVICES: dict[str, list[tuple[str, str]]] = {}
"""Services that work under a role that is passed to them -> calls that hand it over: (action, ARN of what is made)."""
for _service, _action, _arn in (line.split() for line in _CALLS.splitlines()):
    _known = _arn.replace("{here}", f"{REGION}:{ACCOUNT}").replace("{account}", ACCOUNT)
    SERVICES.setdefault(f"{_service}.amazonaws.com", []).append((_action, f"arn:aws:{_known}"))


class Asker:
    """Asks the evaluator about sessions of roles in a world."""

    def __init__(self, evaluator: Evaluator, world: World) -> None:
        self._evaluator, self._world = evaluator, world
        self._known: dict[Any, bool] = {}

    def may(self, questions: Sequence[PolicyQuestion]) -> list[bool]:
        """One answer for each question; what was asked before is remembered."""
        keys = [(*_parts(q), json.dumps(q.context, sort_keys=True)) for q in questions]
        new = {key: q for key, q in zip(keys, questions, strict=True) if key not in self._known}
        verdicts = self._evaluator.judge(list(new.values())) if new else []
        self._known |= {key: verdict.allowed for key, verdict in zip(new, verdicts, strict=True)}
        return [self._known[key] for key in keys]

    def question(self, actor: Role, action: str, resource: str, context: Context | None = None) -> PolicyQuestion:
        """May a session of `actor` do this?"""
        world = self._world
        full: Context = {
            "aws:PrincipalArn": actor.arn,
            "aws:PrincipalAccount": ACCOUNT,
            "aws:PrincipalType": "AssumedRole",
            "aws:ResourceAccount": ACCOUNT,
            "aws:RequestedRegion": REGION,
            "aws:SecureTransport": "true",
            "kms:CallerAccount": ACCOUNT,
            **self._of_resource(action, resource),
            **(context or {}),
        }
        boundary = world.managed[actor.boundary][-1] if actor.boundary else None
        policy = self._policy_of(action, resource)
        return PolicyQuestion(
            actor.session, ACCOUNT, action, resource, full, tuple(actor.policies), boundary, None, policy
        )

    def trusts(self, service: str, role: Role) -> PolicyQuestion:
        """Does a role let a service in that works for the attacker?"""
        arn = SERVICES[service][0][1].format(name="llmops-x")
        context: Context = {"aws:SourceAccount": ACCOUNT, "aws:SourceArn": arn, "aws:PrincipalIsAWSService": "true"}
        return PolicyQuestion(service, ACCOUNT, "sts:AssumeRole", role.arn, context, resource_policy=role.trust)

    def _of_resource(self, action: str, resource: str) -> Context:
        role, key = self._world.roles.get(resource), self._world.keys.get(resource)
        if key:
            return key.context
        if action.startswith("iam:") and role and role.boundary:
            return {"iam:PermissionsBoundary": role.boundary}
        return {}

    def _policy_of(self, action: str, resource: str) -> str | None:
        world = self._world
        if action.startswith("kms:"):
            key = world.keys.get(resource)
            return key.policy if key else Key("").policy
        if action.startswith("s3:"):
            return world.buckets.get(resource.split(":::")[-1].partition("/")[0])
        if action == "sts:AssumeRole" and resource in world.roles:
            return world.roles[resource].trust
        return None


def _parts(question: PolicyQuestion) -> tuple[Any, ...]:
    """All of a question but its context."""
    q = question
    return q.principal, q.action, q.resource, q.identity, q.boundary, q.resource_policy
