"""The rules, and how a stack is judged by them."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from llmops_kit.policies import aws_rules, azure_rules
from llmops_kit.policies.model import Check, Finding, NotKnownError, Resource, Stack, StackCheck, Violation

RULES = {
    "no-public-store": "nothing that holds data or images can be read without credentials",
    "tls-only": "nothing that holds data answers without TLS",
    "encrypted": "data at rest is encrypted, on AWS with a key of the account, which is rotated",
    "no-wildcard-principal": "no policy allows everybody, and services act for this account alone",
    "no-shared-secret": "access is by roles and short-lived tokens, never by a key or password that stays valid",
    "least-privilege": "no role has every action of a service, the right to give rights, or S3's of any account",
    "boundary": "every role carries the permissions boundary",
    "endpoint-isolated": "endpoints and jobs reach what they need, and not the Internet",
    "data-protected": "what outlives a stack is not deleted with it, and what was overwritten can be brought back",
    "retention-set": "logs and files of runs expire when the settings say",
}
"""Rule -> what it keeps."""
SETTING = "accepted_rules"
"""The setting that accepts a rule's violations: rule -> reason."""
_CLOUDS = (aws_rules.CHECKS, azure_rules.CHECKS)


@dataclass(frozen=True)
class Verdict:
    """What was found of a stack."""

    violations: list[Violation] = field(default_factory=list)
    accepted: list[Violation] = field(default_factory=list)
    """What breaks a rule that the stack file accepts."""
    unjudged: list[str] = field(default_factory=list)
    """What could not be judged yet, as `rule: resource: property`: it is known only after `up`."""
    unused: list[str] = field(default_factory=list)
    """Rules that are accepted and that nothing breaks."""

    @property
    def refused(self) -> list[Violation]:
        return [each for each in self.violations if not each.advisory]


def judge(resources: Iterable[Resource], accepted: Mapping[str, str]) -> Verdict:
    """Judge all resources of a stack by all rules.

    Args:
        resources: as they will be.
        accepted: rules that the stack may break, with the reason.
    """
    stack, unjudged = Stack(resources), set[str]()
    found = [each for one in stack.resources for each in judge_resource(one, unjudged)]
    found += judge_stack(stack, unjudged)
    broken = {each.rule for each in found}
    return Verdict(
        violations=[each for each in found if each.rule not in accepted],
        accepted=[each for each in found if each.rule in accepted],
        unjudged=sorted(unjudged),
        unused=sorted(set(accepted) - broken),
    )


def judge_resource(resource: Resource, unjudged: set[str]) -> Iterator[Violation]:
    """Violations of one resource alone; `unjudged` gets what can't be judged yet."""
    for rule in RULES:
        for check in _of_resource(rule, resource.type):
            yield from _run(rule, check, resource, unjudged)


def judge_stack(stack: Stack, unjudged: set[str]) -> Iterator[Violation]:
    """Violations of what belongs together in a stack; `unjudged` gets what can't be judged yet."""
    for rule in RULES:
        for checks in _CLOUDS:
            for check in checks[rule].stack if rule in checks else ():
                yield from _run(rule, check, stack, unjudged)


def accepted_rules(config: Mapping[str, Any], project: str) -> dict[str, str]:
    """What a stack's configuration accepts, from the engine's flat form: its key -> JSON."""
    return dict(json.loads(config.get(f"{project}:{SETTING}") or "{}"))


def _of_resource(rule: str, type_: str) -> Iterator[Check]:
    for checks in _CLOUDS:
        if rule in checks:
            yield from checks[rule].resource.get(type_, ())


def _run(rule: str, check: Check | StackCheck, given: Any, unjudged: set[str]) -> Iterator[Violation]:
    try:
        yield from [_violation(rule, each) for each in check(given)]
    except NotKnownError as e:
        unjudged.add(f"{rule}: {e.path}")


def _violation(rule: str, found: Finding) -> Violation:
    return Violation(rule, found.resource.name, found.what, found.fix, found.advisory, found.resource.urn)
