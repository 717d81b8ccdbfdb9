"""Checks a stack against all rules."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from llmops_kit.policies import aws_rules, azure_rules
from llmops_kit.policies.model import Check, Finding, NotKnownError, Resource, Stack, StackCheck, Violation
from llmops_kit.settings.rule_names import RULES

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
    """Checks all resources of a stack against all rules.

    Args:
        resources: as declared.
        accepted: rules that the stack may violate, with the reason.
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
