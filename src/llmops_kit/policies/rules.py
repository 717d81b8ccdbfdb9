"""The rules, and the check of a stack against them."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from llmops_kit.policies import aws_rules, azure_rules
from llmops_kit.policies.model import Check, Finding, NotKnownError, Resource, Stack, StackCheck, Violation

RULES = {
    "no-public-store": "data and images can't be read without credentials",
    "tls-only": "data is served over TLS only",
    "encrypted": "data at rest is encrypted, on AWS with a key of the account that is rotated",
    "no-wildcard-principal": "no policy allows all principals, and services act for this account only",
    "no-shared-secret": "access uses roles and short-lived tokens, never keys or passwords that stay valid",
    "least-privilege": "no role has all actions of a service, the right to assign roles, or S3 actions in any account",
    "boundary": "every role has the permissions boundary",
    "endpoint-isolated": "endpoints and jobs reach what they need, but not the Internet",
    "data-protected": "data that outlives a stack is not deleted with it, and overwritten data can be restored",
    "retention-set": "logs and files of runs expire as set",
}
"""Rules and their descriptions."""
SETTING = "accepted_rules"
"""The setting that accepts a rule's violations: rule -> reason."""
_CLOUDS = (aws_rules.CHECKS, azure_rules.CHECKS)


@dataclass(frozen=True)
class Verdict:
    """Result of checking a stack."""

    violations: list[Violation] = field(default_factory=list)
    accepted: list[Violation] = field(default_factory=list)
    """Violations of rules that the stack file accepts."""
    unjudged: list[str] = field(default_factory=list)
    """Checks that need a value known only after `up`, as `rule: resource: property`."""
    unused: list[str] = field(default_factory=list)
    """Accepted rules without a violation."""

    @property
    def refused(self) -> list[Violation]:
        return [each for each in self.violations if not each.advisory]


def judge(resources: Iterable[Resource], accepted: Mapping[str, str]) -> Verdict:
    """Check all resources of a stack against all rules.

    Args:
        resources: as declared.
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
    """Returns violations of one resource; adds checks that need an unknown value to `unjudged`."""
    for rule in RULES:
        for check in _of_resource(rule, resource.type):
            yield from _run(rule, check, resource, unjudged)


def judge_stack(stack: Stack, unjudged: set[str]) -> Iterator[Violation]:
    """Returns violations across resources; adds checks that need an unknown value to `unjudged`."""
    for rule in RULES:
        for checks in _CLOUDS:
            for check in checks[rule].stack if rule in checks else ():
                yield from _run(rule, check, stack, unjudged)


def accepted_rules(config: Mapping[str, Any], project: str) -> dict[str, str]:
    """Returns the accepted rules of a stack's configuration, which the engine gives as key -> JSON."""
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
