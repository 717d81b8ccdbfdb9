"""Breadth first over the policies of an account: is there a chain of calls from one role that leads out of the project?

A state is all that the attacker has achieved so far: sessions that are controlled, and policies that were written. Each
step only adds to it, since what the attacker writes is the widest there is, so one growing state stands for all orders
of steps. Rounds are breadth first: a goal that a round reaches was in reach of no earlier one.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from llmops_twins.aws.policy_evaluator.evaluator import Evaluator, PolicyQuestion
from tests.support.clouds.policy_world import (
    ACCOUNT,
    ADMINISTRATOR,
    EVERYTHING,
    REGION,
    SERVICES,
    Asker,
    Context,
    Fact,
    Role,
    World,
)

Move = tuple[str, list[PolicyQuestion], Callable[[Fact], None], list[Fact]]
"""Its label, what must all be allowed, what it changes, and earlier facts that it builds on."""
_NAMES = ("llmops-dev-run-1-x", "x")
_ROUNDS = 8


@dataclass
class Search:
    """From a role. `ours`: ARNs of roles begin so that the project may have; `goals`: what must not be in reach."""

    evaluator: Evaluator
    world: World
    start: str
    ours: str
    paths: tuple[str, ...]
    boundary: str
    goals: list[tuple[str, str, Context]] = field(default_factory=list)
    of_start: frozenset[tuple[str, str]] = frozenset()
    """(action, resource) of goals that the first role alone may have."""

    def __post_init__(self) -> None:
        self._asker = Asker(self.evaluator, self.world)
        self._held: dict[str, Fact] = {self.start: Fact(f"{_short(self.start)}: the attacker begins here")}
        self._done: set[str] = set()

    def way_out(self) -> list[str]:
        """The steps of the shortest way out; empty: there is none.

        Raises:
            AssertionError: the state goes on growing, so that nothing is known.
        """
        for _ in range(_ROUNDS):
            if found := self._reached():
                return found.story()
            before = len(self._done)
            self._advance()
            if outsider := next((arn for arn in self._held if not self._is_ours(arn)), None):
                return self._held[outsider].story()
            if len(self._done) == before:
                return []
        raise AssertionError(f"no end after {_ROUNDS} rounds")

    def controlled(self) -> set[str]:
        """Roles whose sessions the attacker had in the end."""
        return set(self._held)

    def _is_ours(self, arn: str) -> bool:
        return arn == self.start or arn.startswith(self.ours)

    def _actors(self) -> Iterator[tuple[Role, tuple[Fact, ...]]]:
        """Sessions that differ in what they may do; of equal ones the one that was there first."""
        seen = set()
        for arn, fact in list(self._held.items()):
            role = self.world.roles[arn]
            limit = self.world.managed[role.boundary][-1] if role.boundary else ""
            kind = (arn == self.start, tuple(role.policies), limit)
            if kind not in seen:
                seen.add(kind)
                yield role, _each_once([*role.facts, fact])

    def _reached(self) -> Fact | None:
        for actor, facts in self._actors():
            asked = [g for g in self.goals if not (actor.arn == self.start and g[:2] in self.of_start)]
            answers = self._asker.may([self._asker.question(actor, *goal) for goal in asked])
            for (action, resource, _), allowed in zip(asked, answers, strict=True):
                if allowed:
                    changes = self.world.keys[resource].facts if resource in self.world.keys else []
                    return Fact(f"{_short(actor.arn)}: {action} on {resource}", (*facts, *changes))
        return None

    def _advance(self) -> None:
        """Carry out every move that is allowed now, each judged before any of them changes something."""
        moves: list[tuple[tuple[Fact, ...], Move]] = []
        for actor, facts in self._actors():
            moves += [(facts, move) for move in self._moves(actor) if move[0] not in self._done]
        answers = iter(self._asker.may([q for _, move in moves for q in move[1]]))
        for facts, (label, questions, change, builds_on) in moves:
            allowed = [next(answers) for _ in questions]
            if all(allowed) and label not in self._done:
                self._done.add(label)
                change(Fact(label, _each_once([*facts, *builds_on])))

    def _moves(self, actor: Role) -> Iterator[Move]:
        yield from self._new_roles(actor)
        for role in list(self.world.roles.values()):
            yield from self._on_role(actor, role)
            yield from self._into_role(actor, role)
        yield from self._on_managed(actor)
        yield from self._on_data(actor)

    def _new_roles(self, actor: Role) -> Iterator[Move]:
        for path in self.paths:
            for boundary in ("", *self.world.managed):
                arn = f"arn:aws:iam::{ACCOUNT}:role{path}llmops-new-{_digit(boundary, self.world)}"
                context: Context = {"iam:PermissionsBoundary": boundary} if boundary else {}

                def make(fact: Fact, arn: str = arn, boundary: str = boundary) -> None:
                    self.world.roles[arn] = Role(arn, self.world.open_trust(), [], boundary, [fact])

                if arn not in self.world.roles:
                    ask = [self._asker.question(actor, "iam:CreateRole", arn, context)]
                    yield f"CreateRole {_short(arn)} with boundary {_short(boundary) or 'none'}", ask, make, []

    def _on_role(self, actor: Role, role: Role) -> Iterator[Move]:
        ask = self._asker.question

        def write(fact: Fact) -> None:
            if role.policies != [EVERYTHING]:  # one of two ways to it will do
                role.policies[:] = [EVERYTHING]
                role.facts.append(fact)

        def trust(fact: Fact) -> None:
            role.trust = self.world.open_trust()
            role.facts.append(fact)

        name = _short(role.arn)
        if role.policies != [EVERYTHING]:
            yield f"PutRolePolicy {name} *:*", [ask(actor, "iam:PutRolePolicy", role.arn)], write, role.facts
            context: Context = {"iam:PolicyARN": ADMINISTRATOR}
            attach = [ask(actor, "iam:AttachRolePolicy", role.arn, context)]
            yield f"AttachRolePolicy {name} AdministratorAccess", attach, write, role.facts
        if '"AWS": "*"' not in role.trust:
            rewrite = [ask(actor, "iam:UpdateAssumeRolePolicy", role.arn)]
            yield f"UpdateAssumeRolePolicy {name}", rewrite, trust, role.facts
        for boundary in ("", *self.world.managed):
            yield from self._rebound(actor, role, boundary)

    def _rebound(self, actor: Role, role: Role, boundary: str) -> Iterator[Move]:
        """Only away from what limits most: a boundary that the attacker chose is not taken back."""
        if boundary == role.boundary or not role.boundary or any("Boundary" in f.label for f in role.facts[1:]):
            return

        def change(fact: Fact) -> None:
            role.boundary = boundary
            role.facts.append(fact)

        verb = "PutRolePermissionsBoundary" if boundary else "DeleteRolePermissionsBoundary"
        context: Context = {"iam:PermissionsBoundary": boundary} if boundary else {}
        question = self._asker.question(actor, f"iam:{verb}", role.arn, context)
        if boundary != self.boundary:
            yield f"{verb} {_short(role.arn)} {_short(boundary)}", [question], change, role.facts

    def _into_role(self, actor: Role, role: Role) -> Iterator[Move]:
        """Become a role: assume it, or let a service work under it."""
        if role.arn in self._held:
            return

        def hold(fact: Fact) -> None:
            self._held.setdefault(role.arn, fact)

        name = _short(role.arn)
        yield f"AssumeRole {name}", [self._asker.question(actor, "sts:AssumeRole", role.arn)], hold, role.facts
        for service, calls in SERVICES.items():
            passed: Context = {"iam:PassedToService": service}
            common = [self._asker.question(actor, "iam:PassRole", role.arn, passed), self._asker.trusts(service, role)]
            for action, pattern in calls:
                for thing in _NAMES:
                    arn = pattern.format(name=thing)
                    start = self._asker.question(actor, action, arn)
                    yield f"PassRole {name} to {action}", [start, *common], hold, role.facts

    def _on_managed(self, actor: Role) -> Iterator[Move]:
        for arn, versions in list(self.world.managed.items()):
            if arn == ADMINISTRATOR:
                continue

            def rewrite(_fact: Fact, versions: list[str] = versions) -> None:
                versions.append(EVERYTHING)

            def go_back(_fact: Fact, versions: list[str] = versions) -> None:
                versions.append(versions[0])

            if versions[-1] != EVERYTHING:
                ask = self._asker.question
                yield f"CreatePolicyVersion {_short(arn)}", [ask(actor, "iam:CreatePolicyVersion", arn)], rewrite, []
                if len(versions) > 1:
                    back = [ask(actor, "iam:SetDefaultPolicyVersion", arn)]
                    yield f"SetDefaultPolicyVersion {_short(arn)} v1", back, go_back, []

    def _on_data(self, actor: Role) -> Iterator[Move]:
        ask = self._asker.question
        for key in self.world.keys.values():

            def tag(fact: Fact, tags: dict[str, str] = key.tags, facts: list[Fact] = key.facts) -> None:
                tags["llmops:project"] = "llmops"
                facts.append(fact)

            def alias(fact: Fact, aliases: list[str] = key.aliases, facts: list[Fact] = key.facts) -> None:
                aliases.append("alias/llmops-x")
                facts.append(fact)

            tagged: Context = {"aws:RequestTag/llmops:project": "llmops", "aws:TagKeys": ["llmops:project"]}
            name = _short(key.arn)
            yield f"TagResource {name}", [ask(actor, "kms:TagResource", key.arn, tagged)], tag, key.facts
            new = f"arn:aws:kms:{REGION}:{ACCOUNT}:alias/llmops-x"
            both = [ask(actor, "kms:CreateAlias", key.arn), ask(actor, "kms:CreateAlias", new)]
            yield f"CreateAlias {name}", both, alias, key.facts


def iam_writes(data: Path, targets: dict[str, list[str]]) -> Iterator[tuple[str, str]]:
    """Every action of IAM that changes something, on each target of its resource types, as AWS's reference lists them.

    Args:
        data: of llmops_twins.aws.policy_evaluator.installation.
        targets: the reference's resource type (role, user, …) -> ARNs.
    """
    for action in json.loads((data / "actions/iam.json").read_text()).values():
        if action["accessLevel"] in ("List", "Read"):
            continue
        kinds = [kind["name"] for kind in action["resourceTypes"]]
        for resource in [arn for kind in kinds for arn in targets.get(kind, [])] or ([] if kinds else ["*"]):
            yield f"iam:{action['name']}", resource


def writes(data: Path, service: str, kind: str, resource: str, but: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Every action of a service that changes something on one type of resource."""
    for action in json.loads((data / f"actions/{service}.json").read_text()).values():
        of_kind = kind in [each["name"] for each in action["resourceTypes"]]
        if of_kind and action["accessLevel"] not in ("List", "Read") and action["name"] not in but:
            yield f"{service}:{action['name']}", resource


def _each_once(facts: list[Fact]) -> tuple[Fact, ...]:
    return tuple(dict.fromkeys(facts))


def _short(arn: str) -> str:
    return arn.partition(f"{ACCOUNT}:")[2] or arn.rpartition("/")[2]


def _digit(boundary: str, world: World) -> int:
    return ["", *world.managed].index(boundary)
