"""Faults of the AWS twin (core/faults.py), and those that affect any call: throttling, errors, delays, late
visibility.

Code that carries out the other faults looks them up itself: `find` for lasting faults, `take` for those that happen a
given number of times.
"""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from llmops_twins.aws.calls import ApiCall, AwsApiError
from llmops_twins.aws.policy_evaluator import denials
from llmops_twins.aws.twin import AccountTwin
from llmops_twins.core.faults import Fault, Faults, read_kinds

KINDS = read_kinds(Path(__file__).with_suffix(".json"))
_THROTTLED = {
    "s3": ("SlowDown", "Please reduce your request rate.", 503),
    "ec2": ("RequestLimitExceeded", "Request limit exceeded.", 503),
    "iam": ("Throttling", "Rate exceeded", 400),
    "sts": ("Throttling", "Rate exceeded", 400),
    "sns": ("Throttled", "Rate exceeded", 429),
    "cloudwatch": ("Throttling", "Rate exceeded", 400),
}
_READ = re.compile(r"(?:Describe|Get|Head)(.+)")
_MADE = re.compile(r"(?:Create|Register)(.+)")
_NO_SUCH = re.compile("NotFound|NoSuch|NonExist")


def of(twin: AccountTwin) -> Faults:
    """Returns the faults of a twin."""
    return Faults(KINDS, twin.state, twin.changed)


def find(twin: AccountTwin, kind: str, **subject: str) -> Fault | None:
    """Returns the first fault of a kind whose patterns match, without using it up."""
    return of(twin).find(kind, **subject)


def take(twin: AccountTwin, kind: str, **subject: str) -> Fault | None:
    """Returns the first fault of a kind whose patterns match, and uses it up once."""
    return of(twin).take(kind, **subject)


def delay(twin: AccountTwin, call: ApiCall, kind: str = "slow") -> float:
    """Returns the seconds by which a fault delays a call: `slow` before its effect, `late` after it."""
    fault = take(twin, kind, service=call.service, operation=call.operation)
    return float(fault["seconds"]) if fault else 0.0


def meet(twin: AccountTwin, call: ApiCall, errors: Callable[[], list[str]]) -> None:
    """Refuses a call that matches a fault. `errors` returns the error codes that the operation's model declares.

    Raises:
        AwsApiError: the call is throttled, fails, is denied by an organization's policy, or asks for a resource that is
            not visible yet.
    """
    if not twin.state.get("faults"):
        return
    subject = {"service": call.service, "operation": call.operation}
    if take(twin, "throttle", **subject):
        code, message, status = _THROTTLED.get(call.service, ("ThrottlingException", "Rate exceeded", 400))
        # https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html, and each service's own such page
        raise AwsApiError(code, message, status)
    if take(twin, "error", **subject):
        code = "InternalError" if call.service == "s3" else "InternalFailure"
        raise AwsApiError(code, "We encountered an internal error. Please try again.", 500)
    if take(twin, "policy", **subject):
        raise denials.by_organization(call)
    if name := _unseen(twin, call):
        raise _not_found(twin, call, name, errors())


def hides(twin: AccountTwin, call: ApiCall) -> Fault | None:
    """Returns the `eventual` fault that hides the resource created by a call; None if there is none."""
    if not _MADE.match(call.operation):
        return None
    return find(twin, "eventual", service=call.service, operation=call.operation)


def hide(fault: Fault, call: ApiCall, result: Mapping[str, Any]) -> None:
    """Hides the resource that a call created from readers for a while."""
    made = _MADE.match(call.operation)
    assert made
    names = sorted({*_names(made[1], call.parameters), *_names(made[1], result)})
    fault["met"] += 1
    fault.setdefault("made", []).append([call.service, made[1], names, time.time() + fault["seconds"]])


def _unseen(twin: AccountTwin, call: ApiCall) -> str:
    """Returns the requested name if its resource was created too recently to be visible; empty otherwise."""
    asked = _READ.match(call.operation)
    if not asked:
        return ""
    values = set(_texts(call.parameters))
    for fault in of(twin).all().get("eventual", []):
        for service, noun, names, until in fault.get("made", []):
            same = service == call.service and asked[1].startswith(noun.removesuffix("y"))
            if same and time.time() < until and (found := values.intersection(names)):
                return found.pop()
    return ""


def _names(noun: str, document: Mapping[str, Any]) -> Iterator[str]:
    """Yields the names of a noun's resource in a document: `EndpointName`, `Arn`, `KeyMetadata.KeyId`, `Bucket`."""
    keys = {noun.lower() + end for end in ("", "name", "arn", "id")} | {"name", "arn", "id"}
    for key, value in document.items():
        if isinstance(value, str) and key.lower() in keys:
            yield value
        elif isinstance(value, Mapping):
            yield from _names(noun, value)


def _texts(parameters: Mapping[str, Any]) -> Iterator[str]:
    for value in parameters.values():
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            yield from (item for item in value if isinstance(item, str))


def _not_found(twin: AccountTwin, call: ApiCall, name: str, declared: list[str]) -> AwsApiError:
    """Returns the service's error for a resource that is not visible yet.

    Unsure (70 %): the code is the one that botocore's model declares for the operation; the message is modelled on
    IAM's.
    """
    from llmops_twins.aws import sagemaker_documents

    for kind in sagemaker_documents.KINDS:
        if call.service == sagemaker_documents.SERVICE and kind.name in call.parameters:
            return sagemaker_documents.missing(kind, sagemaker_documents.arn_of(twin, kind, call.region, name))
    if call.service == "s3":
        return AwsApiError("NoSuchBucket", "The specified bucket does not exist", 404)
    code = next((code for code in declared if _NO_SUCH.search(code)), "ResourceNotFoundException")
    return AwsApiError(code, f"{name} cannot be found.", 404 if call.service in ("iam", "sns") else 400)
