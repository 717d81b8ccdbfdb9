"""Maps a call to what IAM judges: actions, ARNs and condition keys.

Most operations follow from the Service Authorization Reference alone: the action has the operation's name, and its
resource types' ARNs are filled from parameters of the same names. `tables` and `arns` hold the exceptions, `s3` the
rules of S3, and `behalf` the permissions that a call needs besides its own action.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

import jmespath

from llmops_twins.aws.calls import ApiCall, AwsApiError
from llmops_twins.aws.judges import arns, behalf, operation_tables, s3
from llmops_twins.aws.judges.access import JudgedAction
from llmops_twins.aws.judges.account import JudgedAccount
from llmops_twins.aws.judges.context import context_of
from llmops_twins.aws.judges.reference import PREFIXES, Action, Reference, ResourceType


class Mapping:
    """Maps calls by the Service Authorization Reference and the account's resources."""

    def __init__(self, reference: Reference, account: JudgedAccount) -> None:
        self._reference = reference
        self._account = account

    def accesses_of(self, call: ApiCall) -> list[JudgedAction]:
        """Returns the accesses that a call needs, its own action first; empty for an operation that needs no
        permission.

        Raises:
            AwsApiError: IAM has no such action, so nobody can be allowed it.
        """
        if (call.service, call.operation) in operation_tables.FREE:
            return []
        own = s3.accesses_of(call, self._account) if call.service == "s3" else list(self._own(call))
        return own + list(behalf.accesses_of(call, own, self._account))

    def _own(self, call: ApiCall) -> Iterator[JudgedAction]:
        prefix = PREFIXES.get(call.service, call.service)
        name = operation_tables.ACTIONS.get((call.service, call.operation), f"{prefix}:{call.operation}")
        if (call.service, call.operation) == ("kms", "ReEncrypt"):
            yield from self._re_encrypt(call)
            return
        action = self._reference.action(name)
        if action is None:
            # the twin's own: a call whose action is unknown is refused
            raise AwsApiError(
                "AccessDeniedException",
                f"IAM's reference has no action {name}: this twin can't say who may call it",
            )
        context = context_of(call, prefix)
        for arn in self._resources(call, action):
            yield JudgedAction(action.name, arn, context)

    def _re_encrypt(self, call: ApiCall) -> Iterator[JudgedAction]:
        for name, parameter in [("kms:ReEncryptFrom", "SourceKeyId"), ("kms:ReEncryptTo", "DestinationKeyId")]:
            key = call.parameters.get(parameter)
            yield JudgedAction(name, self._account.key_arn(key or "*", call.region), context_of(call, "kms"))

    def _resources(self, call: ApiCall, action: Action) -> list[str]:
        if action.everywhere:
            return ["*"]
        special = arns.of(action.name.partition(":")[0], call, self._account) or []
        if fitting := [arn for arn in special if any(kind.matches(arn) for kind in action.resource_types)]:
            return list(dict.fromkeys(fitting))
        found = []
        given = _arns(call.parameters)
        for kind in action.resource_types:
            matching = [arn for arn in given if self._is(kind, arn, action)]
            found += matching or self._filled(kind, call)
        if action.name in _ONE_OF:
            found = found[:1]
        return list(dict.fromkeys(found)) or ["*"]

    def _is(self, kind: ResourceType, arn: str, action: Action) -> bool:
        """Returns whether an ARN fits this type better than all other types of the action."""
        if not kind.matches(arn):
            return False
        rivals = [each for each in action.resource_types if each is not kind and each.matches(arn)]
        return all(len(kind.pattern) >= len(each.pattern) for each in rivals)

    def _filled(self, kind: ResourceType, call: ApiCall) -> list[str]:
        service = kind.pattern.split(":")[2]
        values: dict[str, list[str]] = {}
        for name in kind.placeholders:
            values[name] = _values(call.parameters, operation_tables.PLACEHOLDERS.get((service, name)), name)
            if not values[name] and not kind.required:
                return []
        widest = max((len(each) for each in values.values()), default=0) or 1
        return [
            self._arn(
                kind.pattern, call, {name: (each or ["*"])[min(i, len(each) - 1)] for name, each in values.items()}
            )
            for i in range(widest)
        ]

    def _arn(self, pattern: str, call: ApiCall, values: dict[str, str]) -> str:
        known = {"Partition": self._account.partition, "Region": call.region, "Account": self._account.id, **values}
        return re.sub(r"\$\{(\w+)}", lambda found: known[found[1]], pattern)


_ONE_OF = {"sagemaker:ListModelPackages", "servicequotas:GetServiceQuota"}


def _arns(parameters: dict[str, Any]) -> list[str]:
    """Returns the ARNs among the top-level parameters, which name the call's subject; nested ones are only
    references.
    """
    values: list[Any] = []
    for value in parameters.values():
        values += value if isinstance(value, list) else [value]
    return [value for value in values if isinstance(value, str) and value.startswith("arn:")]


def _values(parameters: dict[str, Any], expression: str | None, name: str) -> list[str]:
    if expression:
        value = jmespath.search(expression, parameters)
    else:
        wanted = {name.lower(), f"{name.lower()}s"}
        value = next((each for key, each in parameters.items() if key.lower() in wanted), None)
    values = value if isinstance(value, list) else [value]
    return [str(each) for each in _flat(values) if each not in (None, "") and not str(each).startswith("arn:")]


def _flat(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list):
            yield from _flat(value)
        else:
            yield value
