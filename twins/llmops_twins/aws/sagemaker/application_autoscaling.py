"""Application Auto Scaling of SageMaker variants: targets, policies with the alarms they make, activities.

https://docs.aws.amazon.com/autoscaling/application/APIReference/Welcome.html; scaling itself is in `scaling`.
"""

import re

from llmops_twins.aws.calls import ApiCall, AwsApiError, not_judged
from llmops_twins.aws.sagemaker.endpoints import scaling
from llmops_twins.aws.service_documents import Document, implement_methods, new_id, now, page, plain, regions, shelf
from llmops_twins.aws.services.cloudwatch import alarms
from llmops_twins.aws.twin import AccountTwin, Tagged

SERVICE = "application-autoscaling"
_DIMENSION = "sagemaker:variant:DesiredInstanceCount"
_RESOURCE = re.compile(r"^endpoint/(?P<endpoint>[^/]+)/variant/(?P<variant>[^/]+)$")
_ROLE = "aws-service-role/sagemaker.application-autoscaling.amazonaws.com/AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint"  # noqa: E501
_PREDEFINED = {
    "SageMakerVariantInvocationsPerInstance": ("InvocationsPerInstance", "Sum", 60),
    "SageMakerVariantConcurrentRequestsPerModelHighResolution": ("ConcurrentRequestsPerModel", "Maximum", 10),
}


def install(twin: AccountTwin) -> None:
    """Registers the API with the twin."""
    implement_methods(twin, SERVICE, _ApplicationAutoscaling(twin))
    twin.tag_sources.append(_tagged)
    twin.before("sagemaker", "UpdateEndpoint", lambda call: _refuse_moved_variants(twin, call))


def _tagged(twin: AccountTwin) -> list[Tagged]:
    """Returns ARN and tags of every scalable target."""
    return [
        (target["ScalableTargetARN"], target["tags"])
        for region in regions(twin, SERVICE)
        for target in shelf(twin, SERVICE, "targets", region).values()
    ]


class _ApplicationAutoscaling:
    """Application Auto Scaling's operations, one method each."""

    def __init__(self, twin: AccountTwin) -> None:
        self._twin = twin

    def register_scalable_target(self, call: ApiCall) -> Document:
        given = plain(call.parameters)
        targets = shelf(self._twin, SERVICE, "targets", call.region)
        key = _key(given)
        old = targets.get(key)
        _refuse_unknown(self._twin, call.region, given)
        least, most = (given.get(name, (old or {}).get(name)) for name in ("MinCapacity", "MaxCapacity"))
        if least is None or most is None:
            raise AwsApiError(
                "ValidationException", "MinCapacity and MaxCapacity must be specified for a new scalable target"
            )
        if least > most:
            raise AwsApiError("ValidationException", "Maximum capacity cannot be less than minimum capacity")
        if old and given.get("Tags"):
            raise AwsApiError("ValidationException", "Tags can only be specified when a scalable target is registered; use TagResource")  # fmt: skip # noqa: E501
        if least < 0:
            raise AwsApiError("ValidationException", "Minimum capacity cannot be negative")
        if least == 0 and not scaling.may_be_zero(self._twin, call.region, given["ResourceId"]):
            text = "Minimum capacity must be at least 1 for a variant of an endpoint that serves in real time"
            raise AwsApiError("ValidationException", text)
        suspended = {"DynamicScalingInSuspended": False, "DynamicScalingOutSuspended": False}
        suspended |= {"ScheduledScalingSuspended": False, **(old or {}).get("SuspendedState", {})}
        begin = f"arn:aws:{SERVICE}:{call.region}:{self._twin.account}:scalable-target/"
        target = {
            **{name: given[name] for name in ("ServiceNamespace", "ResourceId", "ScalableDimension")},
            "MinCapacity": least,
            "MaxCapacity": most,
            "RoleARN": f"arn:aws:iam::{self._twin.account}:role/{_ROLE}",
            "CreationTime": old["CreationTime"] if old else now(),
            "SuspendedState": {**suspended, **given.get("SuspendedState", {})},
            "ScalableTargetARN": old["ScalableTargetARN"] if old else begin + new_id().replace("-", ""),
            "tags": old["tags"] if old else given.get("Tags", {}),
        }
        targets[key] = target
        return {"ScalableTargetARN": target["ScalableTargetARN"]}

    def describe_scalable_targets(self, call: ApiCall) -> Document:
        wanted = call.parameters
        found = [
            target
            for target in shelf(self._twin, SERVICE, "targets", call.region).values()
            if _belongs(target, wanted) and target["ResourceId"] in wanted.get("ResourceIds", [target["ResourceId"]])
        ]
        return _page(call, "ScalableTargets", found)

    def deregister_scalable_target(self, call: ApiCall) -> None:
        targets = shelf(self._twin, SERVICE, "targets", call.region)
        target = targets.get(_key(call.parameters))
        if target is None:
            raise _no_target(call.parameters)
        policies = shelf(self._twin, SERVICE, "policies", call.region)
        for key, policy in list(policies.items()):
            if _key(policy) == _key(target):
                self._drop_alarms(call.region, policy)
                del policies[key]
        del targets[_key(target)]

    def put_scaling_policy(self, call: ApiCall) -> Document:
        given = plain(call.parameters)
        if _key(given) not in shelf(self._twin, SERVICE, "targets", call.region):
            raise _no_target(given)
        policies = shelf(self._twin, SERVICE, "policies", call.region)
        old = policies.get(_policy_key(given))
        policy = {
            **(old or {}),
            **given,
            "PolicyType": given.get("PolicyType", (old or {}).get("PolicyType", "StepScaling")),
        }
        _refuse_bad_policy(policy)
        if old is None:
            policy["CreationTime"] = now()
            policy["PolicyARN"] = self._arn(call.region, "scalingPolicy", given, f"policyName/{given['PolicyName']}")
        policies[_policy_key(given)] = policy
        self._drop_alarms(call.region, policy)
        policy["Alarms"] = self._make_alarms(call.region, policy)
        return {"PolicyARN": policy["PolicyARN"], "Alarms": policy["Alarms"]}

    def describe_scaling_policies(self, call: ApiCall) -> Document:
        wanted = call.parameters
        found = [
            policy
            for policy in shelf(self._twin, SERVICE, "policies", call.region).values()
            if _belongs(policy, wanted) and policy["PolicyName"] in wanted.get("PolicyNames", [policy["PolicyName"]])
        ]
        return _page(call, "ScalingPolicies", found)

    def delete_scaling_policy(self, call: ApiCall) -> None:
        policies = shelf(self._twin, SERVICE, "policies", call.region)
        policy = policies.pop(_policy_key(call.parameters), None)
        if policy is None:
            name = call.parameters["PolicyName"]
            text = f"No scaling policy found for {_named(call.parameters)}, policy name: {name}"
            raise AwsApiError("ObjectNotFoundException", text)
        self._drop_alarms(call.region, policy)

    def describe_scaling_activities(self, call: ApiCall) -> Document:
        kept = shelf(self._twin, SERVICE, "activities", call.region).get("all", {"events": []})["events"]
        found = [activity for activity in reversed(kept) if _belongs(activity, call.parameters)]
        return _page(call, "ScalingActivities", found)

    def list_tags_for_resource(self, call: ApiCall) -> Document:
        return {"Tags": self._by_arn(call)["tags"]}

    def tag_resource(self, call: ApiCall) -> None:
        self._by_arn(call)["tags"].update(call.parameters["Tags"])

    def untag_resource(self, call: ApiCall) -> None:
        for key in call.parameters["TagKeys"]:
            self._by_arn(call)["tags"].pop(key, None)

    def _by_arn(self, call: ApiCall) -> Document:
        arn = call.parameters["ResourceARN"]
        for target in shelf(self._twin, SERVICE, "targets", call.region).values():
            if target["ScalableTargetARN"] == arn:
                return target
        raise AwsApiError("ResourceNotFoundException", f"Specified resource does not exist: {arn}")

    def _arn(self, region: str, kind: str, given: Document, end: str) -> str:
        namespace, resource = given["ServiceNamespace"], given["ResourceId"]
        return (
            f"arn:aws:autoscaling:{region}:{self._twin.account}:{kind}:{new_id()}:resource/{namespace}/{resource}:{end}"
        )

    def _drop_alarms(self, region: str, document: Document) -> None:
        alarms.delete(self._twin, region, [alarm["AlarmName"] for alarm in document.get("Alarms", [])])

    def _make_alarms(self, region: str, policy: Document) -> list[Document]:
        tracking = policy.get("TargetTrackingScalingPolicyConfiguration")
        if not tracking:
            return []
        made = []
        for parameters in _tracking_alarms(policy, tracking):
            handler = self._twin.handler("cloudwatch", "PutMetricAlarm")
            assert handler
            handler(ApiCall("cloudwatch", "PutMetricAlarm", parameters, "", region, ""))
            name = parameters["AlarmName"]
            made.append({"AlarmName": name, "AlarmARN": alarms.alarms(self._twin, region)[name]["AlarmArn"]})
        return made


def _refuse_moved_variants(twin: AccountTwin, call: ApiCall) -> None:
    """Refuses to remove a variant that is a scalable target, or to change its instance type."""
    name = call.parameters["EndpointName"]
    types = scaling.instance_types(twin, call.region, call.parameters["EndpointConfigName"])
    found = scaling.endpoint(twin, call.region, f"endpoint/{name}/variant/")
    if types is None or found is None:  # SageMaker's own check refuses the call
        return
    now_types = scaling.instance_types(twin, call.region, found["EndpointConfigName"]) or {}
    scaled = {target["ResourceId"] for target in shelf(twin, SERVICE, "targets", call.region).values()}
    moved = [
        variant
        for variant, kind in now_types.items()
        if types.get(variant) != kind and f"endpoint/{name}/variant/{variant}" in scaled
    ]
    if moved:
        text = f'The variant(s) "[{", ".join(moved)}]" must be deregistered as scalable targets with AWS Auto Scaling before they can be removed or have their instance type updated.'  # fmt: skip # noqa: E501
        raise AwsApiError("ValidationException", text)


def _tracking_alarms(policy: Document, tracking: Document) -> list[Document]:
    """Returns the two alarms of a target tracking policy: three periods above the target, fifteen well below it."""
    watched = _watched(policy, tracking)
    target = tracking["TargetValue"]
    kinds = [("High", "GreaterThanThreshold", 3, target)]
    if not tracking.get("DisableScaleIn"):
        kinds.append(("Low", "LessThanThreshold", 15, round(target * 0.9, 6)))
    return [
        {
            "AlarmName": f"TargetTracking-{policy['ResourceId']}-Alarm{kind}-{new_id()}",
            "AlarmDescription": f"DO NOT EDIT OR DELETE. For TargetTrackingScaling policy {policy['PolicyARN']}.",
            "AlarmActions": [policy["PolicyARN"]],
            "ComparisonOperator": comparison,
            "EvaluationPeriods": periods,
            "Threshold": threshold,
            **watched,
        }
        for kind, comparison, periods, threshold in kinds
    ]


def _watched(policy: Document, tracking: Document) -> Document:
    if predefined := tracking.get("PredefinedMetricSpecification"):
        metric, statistic, period = _PREDEFINED[predefined["PredefinedMetricType"]]
        endpoint, variant = scaling.names(policy["ResourceId"])
        dimensions = [{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": variant}]
        named = {"Namespace": "AWS/SageMaker", "MetricName": metric, "Dimensions": dimensions}
        return {**named, "Statistic": statistic, "Period": period}
    custom = tracking["CustomizedMetricSpecification"]
    kept = ("Namespace", "MetricName", "Dimensions", "Statistic", "Unit")
    return {**{name: custom[name] for name in kept if name in custom}, "Period": custom.get("Period", 60)}


def _refuse_unknown(twin: AccountTwin, region: str, given: Document) -> None:
    resource, dimension = given["ResourceId"], given["ScalableDimension"]
    if given["ServiceNamespace"] != "sagemaker" or dimension != _DIMENSION or not _RESOURCE.match(resource):
        if given["ServiceNamespace"] == "sagemaker" and dimension.startswith("sagemaker:inference-component"):
            raise AwsApiError("ValidationException", f"This twin only scales variants of endpoints, not {dimension}.")
        text = "Unsupported service namespace, resource type or scalable dimension"
        raise AwsApiError("ValidationException", text)
    if scaling.variant(twin, region, resource) is None:
        endpoint, variant = scaling.names(resource)
        if scaling.endpoint(twin, region, resource) is None:
            raise AwsApiError("ValidationException", f"SageMaker endpoint not found: {endpoint}")
        raise AwsApiError("ValidationException", f"SageMaker variant not found: {variant} of endpoint {endpoint}")


def _refuse_bad_policy(policy: Document) -> None:
    kind = policy["PolicyType"]
    member = {"TargetTrackingScaling": "TargetTrackingScalingPolicyConfiguration"}.get(
        kind, "StepScalingPolicyConfiguration"
    )
    if kind not in ("TargetTrackingScaling", "StepScaling"):
        raise AwsApiError("ValidationException", f"Policy type {kind} is not supported for sagemaker")
    if member not in policy:
        raise AwsApiError("ValidationException", f"{member} must be specified for policy type {kind}")
    if kind != "TargetTrackingScaling":
        return
    tracking = policy[member]
    forms = [name for name in ("PredefinedMetricSpecification", "CustomizedMetricSpecification") if name in tracking]
    if len(forms) != 1:
        text = "Exactly one of PredefinedMetricSpecification and CustomizedMetricSpecification must be specified"
        raise AwsApiError("ValidationException", text)
    if "Metrics" in tracking.get("CustomizedMetricSpecification", {}):
        raise not_judged("metric math: CustomizedMetricSpecification.Metrics")
    metric = tracking.get("PredefinedMetricSpecification", {}).get("PredefinedMetricType")
    if metric is not None and metric not in _PREDEFINED:
        raise AwsApiError("ValidationException", f"Predefined metric type {metric} is not supported for {_DIMENSION}")


def _key(given: Document) -> str:
    return "\n".join(given[name] for name in ("ServiceNamespace", "ResourceId", "ScalableDimension"))


def _policy_key(given: Document) -> str:
    return f"{_key(given)}\n{given['PolicyName']}"


def _belongs(document: Document, wanted: Document) -> bool:
    names = ("ServiceNamespace", "ResourceId", "ScalableDimension")
    return all(document[name] == wanted.get(name, document[name]) for name in names)


def _named(given: Document) -> str:
    namespace, resource, dimension = (given[name] for name in ("ServiceNamespace", "ResourceId", "ScalableDimension"))
    return f"service namespace: {namespace}, resource ID: {resource}, scalable dimension: {dimension}"


def _no_target(given: Document) -> AwsApiError:
    return AwsApiError("ObjectNotFoundException", f"No scalable target registered for {_named(given)}")


def _page(call: ApiCall, member: str, found: list[Document]) -> Document:
    shown, token = page(found, call.parameters.get("NextToken"), call.parameters.get("MaxResults"), 50)
    return {member: shown, "NextToken": token}
