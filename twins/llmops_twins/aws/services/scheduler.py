"""EventBridge Scheduler: groups and schedules with every field, fired in real time under the schedule's role.

https://docs.aws.amazon.com/scheduler/latest/APIReference/Welcome.html
"""

import json
import logging
import re
import secrets
from datetime import UTC, datetime
from typing import Any

from llmops_twins.aws.calls import ApiCall, AwsApiError
from llmops_twins.aws.identity import iam
from llmops_twins.aws.service_documents import (
    Document,
    ask,
    implement_methods,
    now,
    page,
    plain,
    regions,
    shelf,
    tag_list,
    tag_map,
)
from llmops_twins.aws.services import schedule_expressions
from llmops_twins.aws.twin import AccountTwin, Tagged

_SERVICE = "scheduler"
_PRINCIPAL = "scheduler.amazonaws.com"
_UNIVERSAL = re.compile(r"^arn:aws:scheduler:::aws-sdk:(?P<service>[\w-]+):(?P<operation>\w+)$")
_READS = ("get", "describe", "list", "poll", "receive", "search", "scan", "query", "select", "read", "view")
_RETRY = {"MaximumEventAgeInSeconds": 86400, "MaximumRetryAttempts": 185}
_TICK_SECONDS = 0.5
_SESSION = "AmazonEventBridgeScheduler"
_ACTIONS = {"sqs": "sqs:SendMessage", "sns": "sns:Publish"}
log = logging.getLogger("llmops_twins.aws")


def install(twin: AccountTwin) -> None:
    """Registers the API, and a timer that fires due schedules."""
    scheduler = _Scheduler(twin)
    implement_methods(twin, _SERVICE, scheduler)
    twin.tag_sources.append(_tagged)
    twin.every(_TICK_SECONDS, lambda: _fire_due(twin))


def _tagged(twin: AccountTwin) -> list[Tagged]:
    """Returns ARN and tags of every group."""
    return [
        (group["Arn"], group["tags"])
        for region in regions(twin, _SERVICE)
        for group in shelf(twin, _SERVICE, "groups", region).values()
    ]


class _Scheduler:
    """The operations of EventBridge Scheduler: each method that takes only a call."""

    def __init__(self, twin: AccountTwin) -> None:
        self._twin = twin

    def create_schedule(self, call: ApiCall) -> Document:
        given = plain(call.parameters)
        group = given.get("GroupName", "default")
        self._group(call, group)
        found = self._schedules(call)
        key = f"{group}/{given['Name']}"
        if key in found:
            raise AwsApiError("ConflictException", f"Schedule {given['Name']} already exists.", 409)
        found[key] = self._checked(call, given, now())
        return {"ScheduleArn": found[key]["Arn"]}

    def update_schedule(self, call: ApiCall) -> Document:
        given = plain(call.parameters)
        old = self._schedule(call)
        new = self._checked(call, given, old["CreationDate"])
        self._schedules(call)[f"{new['GroupName']}/{new['Name']}"] = new
        return {"ScheduleArn": new["Arn"]}

    def get_schedule(self, call: ApiCall) -> Document:
        return self._schedule(call)

    def delete_schedule(self, call: ApiCall) -> None:
        found = self._schedule(call)
        del self._schedules(call)[f"{found['GroupName']}/{found['Name']}"]

    def list_schedules(self, call: ApiCall) -> Document:
        wanted = call.parameters
        found = [
            {**schedule, "Target": {"Arn": schedule["Target"]["Arn"]}}
            for schedule in self._schedules(call).values()
            if schedule["GroupName"] == wanted.get("GroupName", schedule["GroupName"])
            and schedule["Name"].startswith(wanted.get("NamePrefix", ""))
            and schedule["State"] == wanted.get("State", schedule["State"])
        ]
        shown, token = page(found, wanted.get("NextToken"), wanted.get("MaxResults"))
        return {"Schedules": shown, "NextToken": token}

    def create_schedule_group(self, call: ApiCall) -> Document:
        name = call.parameters["Name"]
        if name in self._groups(call):
            raise AwsApiError("ConflictException", f"Schedule group {name} already exists.", 409)
        self._groups(call)[name] = self._new_group(call, name, tag_map(call.parameters.get("Tags")))
        return {"ScheduleGroupArn": self._groups(call)[name]["Arn"]}

    def get_schedule_group(self, call: ApiCall) -> Document:
        return self._group(call, call.parameters["Name"])

    def delete_schedule_group(self, call: ApiCall) -> None:
        name = call.parameters["Name"]
        if name == "default":
            raise AwsApiError("ValidationException", "The default schedule group cannot be deleted.")
        self._group(call, name)
        for key, schedule in list(self._schedules(call).items()):
            if schedule["GroupName"] == name:
                del self._schedules(call)[key]
        del self._groups(call)[name]

    def list_schedule_groups(self, call: ApiCall) -> Document:
        self._group(call, "default")
        prefix = call.parameters.get("NamePrefix", "")
        found = [group for name, group in self._groups(call).items() if name.startswith(prefix)]
        shown, token = page(found, call.parameters.get("NextToken"), call.parameters.get("MaxResults"))
        return {"ScheduleGroups": shown, "NextToken": token}

    def list_tags_for_resource(self, call: ApiCall) -> Document:
        return {"Tags": tag_list(self._by_arn(call)["tags"])}

    def tag_resource(self, call: ApiCall) -> None:
        self._by_arn(call)["tags"].update(tag_map(call.parameters["Tags"]))

    def untag_resource(self, call: ApiCall) -> None:
        for key in call.parameters["TagKeys"]:
            self._by_arn(call)["tags"].pop(key, None)

    def _checked(self, call: ApiCall, given: Document, created: float) -> Document:
        schedule_expressions.check(given["ScheduleExpression"], given.get("ScheduleExpressionTimezone", "UTC"))
        window = given["FlexibleTimeWindow"]
        if (window["Mode"] == "FLEXIBLE") != ("MaximumWindowInMinutes" in window):
            text = "Parameter MaximumWindowInMinutes must be provided for FLEXIBLE, and only for it."
            raise AwsApiError("ValidationException", text)
        _check_target(given["Target"])
        if not iam.trusts(self._twin, given["Target"]["RoleArn"], _PRINCIPAL):
            text = "The execution role you provide must allow AWS EventBridge Scheduler to assume the role."
            raise AwsApiError("ValidationException", text)
        group = given.get("GroupName", "default")
        target = {**given["Target"], "RetryPolicy": {**_RETRY, **given["Target"].get("RetryPolicy", {})}}
        return {
            "ActionAfterCompletion": "NONE",
            "ScheduleExpressionTimezone": "UTC",
            "State": "ENABLED",
            **{name: value for name, value in given.items() if name != "ClientToken"},
            "GroupName": group,
            "Target": target,
            "Arn": f"arn:aws:scheduler:{call.region}:{self._twin.account}:schedule/{group}/{given['Name']}",
            "CreationDate": created,
            "LastModificationDate": now(),
            "looked_at": now(),
        }

    def _new_group(self, call: ApiCall, name: str, tags: dict[str, str]) -> Document:
        arn = f"arn:aws:scheduler:{call.region}:{self._twin.account}:schedule-group/{name}"
        times = {"CreationDate": now(), "LastModificationDate": now()}
        return {"Name": name, "Arn": arn, "State": "ACTIVE", "tags": tags, **times}

    def _group(self, call: ApiCall, name: str) -> Document:
        if name == "default":
            self._groups(call).setdefault(name, self._new_group(call, name, {}))
        group = self._groups(call).get(name)
        if group is None:
            raise AwsApiError("ResourceNotFoundException", f"Schedule group {name} does not exist.", 404)
        return group

    def _schedule(self, call: ApiCall) -> Document:
        name, group = call.parameters["Name"], call.parameters.get("GroupName", "default")
        found = self._schedules(call).get(f"{group}/{name}")
        if found is None:
            raise AwsApiError("ResourceNotFoundException", f"Schedule {name} does not exist.", 404)
        return found

    def _by_arn(self, call: ApiCall) -> Document:
        arn = call.parameters["ResourceArn"]
        for group in self._groups(call).values():
            if group["Arn"] == arn:
                return group
        raise AwsApiError("ResourceNotFoundException", f"{arn} does not exist.", 404)

    def _groups(self, call: ApiCall) -> dict[str, Document]:
        return shelf(self._twin, _SERVICE, "groups", call.region)

    def _schedules(self, call: ApiCall) -> dict[str, Document]:
        return shelf(self._twin, _SERVICE, "schedules", call.region)


def _check_target(target: Document) -> None:
    arn = target["Arn"]
    if not arn.startswith("arn:aws:scheduler:::"):
        if len(arn.split(":")) < 6:
            raise AwsApiError("ValidationException", f"Provided Arn is not in correct format: {arn}")
        return
    match = _UNIVERSAL.match(arn)
    model = _operation(match["service"], match["operation"]) if match else None
    if not match or model is None:
        raise AwsApiError("ValidationException", f"Provided Arn is not a supported universal target: {arn}")
    if match["operation"].lower().startswith(_READS):
        raise AwsApiError("ValidationException", f"Read-only operations can't be a universal target: {arn}")
    try:
        if not isinstance(json.loads(target.get("Input", "{}")), dict):
            raise ValueError("no object")
    except ValueError as e:
        raise AwsApiError("ValidationException", "Input is not a valid JSON object.") from e


def _operation(service: str, operation: str) -> Any | None:
    """Returns botocore's model of an operation of a universal target, or None."""
    from botocore.model import OperationNotFoundError

    from llmops_twins.aws.wire.reading import model_of

    try:
        return model_of(service).operation_model(operation[0].upper() + operation[1:])
    except (AwsApiError, OperationNotFoundError):
        return None


def _fire_due(twin: AccountTwin) -> None:
    for region in regions(twin, _SERVICE):
        found = shelf(twin, _SERVICE, "schedules", region)
        for key, schedule in list(found.items()):
            expression, zone = schedule["ScheduleExpression"], schedule["ScheduleExpressionTimezone"]
            try:
                due = schedule_expressions.next_after(expression, schedule["looked_at"], zone)
            except AwsApiError:  # stored by an earlier version that accepted it
                continue
            if due is None or due > now():
                continue
            schedule["looked_at"] = due
            twin.changed()
            in_time = schedule.get("StartDate", 0) <= due <= schedule.get("EndDate", float("inf"))
            if schedule["State"] == "ENABLED" and in_time:
                _fire(twin, region, schedule, due)
            once = schedule_expressions.next_after(expression, due, zone) is None
            if once and schedule["ActionAfterCompletion"] == "DELETE":
                del found[key]


def _fire(twin: AccountTwin, region: str, schedule: Document, due: float) -> None:
    execution = secrets.token_hex(8)  # as long as the example in AWS's documents, d32c5kddcf5bb8c3
    target = schedule["Target"]
    replaced = {
        "<aws.scheduler.schedule-arn>": schedule["Arn"],
        "<aws.scheduler.scheduled-time>": datetime.fromtimestamp(due, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "<aws.scheduler.execution-id>": execution,
        "<aws.scheduler.attempt-number>": "1",
    }
    text = target.get("Input", "{}")
    for keyword, value in replaced.items():
        text = text.replace(keyword, value)
    last: Document = {"at": now(), "execution": execution, "error": ""}
    try:
        group = schedule["Arn"].rpartition("/")[0].replace(":schedule/", ":schedule-group/")
        _decrypt(twin, schedule, group)
        _invoke(twin, region, target, text, group)
    except AwsApiError as e:
        last["error"] = str(e)
        log.warning("schedule %s failed: %s", schedule["Arn"], e)
        _send_to_dead_letters(twin, target, text, e)
    schedule["last"] = last
    twin.changed()


def _decrypt(twin: AccountTwin, schedule: Document, group: str) -> None:
    """Checks under the target's role that an encrypted schedule can be decrypted with its key."""
    if key := schedule.get("KmsKeyArn"):
        context = {"aws:SourceArn": group, "kms:EncryptionContext:aws:scheduler:schedule:arn": schedule["Arn"]}
        role = schedule["Target"]["RoleArn"]
        if reason := twin.may(role, "kms:Decrypt", key, context, service=_PRINCIPAL):
            raise AwsApiError("AccessDeniedException", reason)


def _invoke(twin: AccountTwin, region: str, target: Document, text: str, group: str) -> None:
    role = target["RoleArn"]
    if not iam.trusts(twin, role, _PRINCIPAL):
        raise AwsApiError("AccessDeniedException", f"Scheduler can't assume the role {role}.")
    match = _UNIVERSAL.match(target["Arn"])
    if match:
        operation = match["operation"][0].upper() + match["operation"][1:]
        session = f"arn:aws:sts::{twin.account}:assumed-role/{role.rpartition('/')[2]}/{_SESSION}"
        call = ApiCall(match["service"], operation, _validated(match, text), "", region, session)
        reason = twin.may_call(role, call, service=_PRINCIPAL, source_arn=group)
        if reason:
            raise AwsApiError("AccessDeniedException", reason)
        ask(twin, call.service, operation, region, call.parameters, principal=session)
        return
    service = target["Arn"].split(":")[2]
    if service not in _ACTIONS:
        raise AwsApiError("ValidationException", f"The twin can't invoke targets of {service}.")
    reason = twin.may(role, _ACTIONS[service], target["Arn"], {"aws:SourceArn": group}, service=_PRINCIPAL)
    if reason:
        raise AwsApiError("AccessDeniedException", reason)
    _send(twin, target["Arn"], text)


def _validated(match: re.Match[str], text: str) -> Document:
    from botocore.validate import ParamValidator

    model = _operation(match["service"], match["operation"])
    assert model
    parameters = json.loads(text)
    report = ParamValidator().validate(parameters, model.input_shape)
    if report.has_errors():
        raise AwsApiError("ValidationException", report.generate_report())
    return parameters


def _send(twin: AccountTwin, arn: str, text: str) -> None:
    from moto.core.exceptions import ServiceException
    from moto.sns.models import sns_backends
    from moto.sqs.models import sqs_backends

    _, _, service, region, _, name = arn.split(":", 5)
    try:
        if service == "sns":
            sns_backends[twin.account][region].publish(text, arn=arn)
        else:
            sqs_backends[twin.account][region].send_message(name, text)
    except ServiceException as e:
        raise AwsApiError("ResourceNotFoundException", str(e)) from e


def _send_to_dead_letters(twin: AccountTwin, target: Document, text: str, error: AwsApiError) -> None:
    """Sends an undeliverable event to the dead-letter queue, if there is one."""
    arn = target.get("DeadLetterConfig", {}).get("Arn")
    if arn:
        try:
            _send(twin, arn, text)
        except AwsApiError as e:
            log.warning("the dead-letter queue %s refuses the event: %s, after %s", arn, e, error)
