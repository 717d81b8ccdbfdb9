"""Endpoints: create, update, scale, delete, describe and list, with the statuses that allow each.

https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateEndpoint.html
https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_UpdateEndpoint.html
"""

import copy
from contextlib import suppress

from llmops_twins.aws import sagemaker_documents as store
from llmops_twins.aws.calls import ApiCall, AwsApiError
from llmops_twins.aws.sagemaker.endpoints import containers as fleet
from llmops_twins.aws.sagemaker.endpoints import guardrails
from llmops_twins.aws.sagemaker.endpoints.rollout import EndpointRollout
from llmops_twins.aws.sagemaker.endpoints.variants import deployed, summaries
from llmops_twins.aws.sagemaker_documents import CONFIG, ENDPOINT, Listing
from llmops_twins.aws.service_documents import Document, ask, now, plain
from llmops_twins.aws.twin import AccountTwin

_ENDPOINTS = Listing(
    "Endpoints",
    ("EndpointName", "EndpointArn", "CreationTime", "LastModifiedTime", "EndpointStatus"),
    status="EndpointStatus",
)
_IN_PROGRESS = ("Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting")
_LOOK_SECONDS = 0.1
_DIMENSION = "sagemaker:variant:DesiredInstanceCount"
_OURS = ("config", "variants", "rollout", "groups", "scaling")
DELETION_SECONDS = 60
"""Approximate duration of a deletion on AWS."""


class Endpoints:
    """Implements SageMaker's calls on endpoints: create, describe, list, update and delete."""

    def __init__(self, twin: AccountTwin) -> None:
        self._twin = twin
        self._rollout = EndpointRollout(twin)
        twin.action_named("sagemaker.delete", self._forget)

    def create_endpoint(self, call: ApiCall) -> Document:
        given = call.parameters
        config = store.find(self._twin, CONFIG, call.region, given["EndpointConfigName"])
        guardrails.check(self._twin, call.region, given.get("DeploymentConfig"), config)
        endpoint = store.create(
            self._twin,
            ENDPOINT,
            call,
            EndpointStatus="Creating",
            LastModifiedTime=now(),
            config=copy.deepcopy(config),
            variants={},
        )
        deployment = endpoint.pop("DeploymentConfig", None)
        self._rollout.begin(endpoint, config, deployment, {})
        return {"EndpointArn": endpoint["EndpointArn"]}

    def describe_endpoint(self, call: ApiCall) -> Document:
        endpoint = store.find(self._twin, ENDPOINT, call.region, call.parameters["EndpointName"])
        return described(endpoint)

    def list_endpoints(self, call: ApiCall) -> Document:
        return store.page_of(call, ENDPOINT, store.documents(self._twin, ENDPOINT, call.region), _ENDPOINTS)

    def update_endpoint(self, call: ApiCall) -> Document:
        twin, given = self._twin, plain(call.parameters)
        endpoint = store.find(twin, ENDPOINT, call.region, given["EndpointName"])
        config = store.find(twin, CONFIG, call.region, given["EndpointConfigName"])
        _require_settled(endpoint)
        # An update needs the serving configuration, which may have been deleted.
        store.find(twin, CONFIG, call.region, endpoint["EndpointConfigName"])
        deployment = given.get("DeploymentConfig")
        if given.get("RetainDeploymentConfig"):
            deployment = deployment or endpoint.get("LastDeploymentConfig")
        guardrails.check(twin, call.region, deployment, config)
        retained: dict[str, Document] = {}
        if given.get("RetainAllVariantProperties"):
            excluded = {each["VariantPropertyType"] for each in given.get("ExcludeRetainedVariantProperties", [])}
            retained = _retained(endpoint, config, excluded)
            capture = endpoint["config"].get("DataCaptureConfig")
            if capture and "DataCaptureConfig" not in excluded:
                config = config | {"DataCaptureConfig": capture}
        endpoint.pop("FailureReason", None)
        endpoint.update(EndpointStatus="Updating", LastModifiedTime=now())
        self._rollout.begin(endpoint, config, deployment, retained)
        return {"EndpointArn": endpoint["EndpointArn"]}

    def update_endpoint_weights_and_capacities(self, call: ApiCall) -> Document:
        endpoint = store.find(self._twin, ENDPOINT, call.region, call.parameters["EndpointName"])
        _require_settled(endpoint)
        desired = plain(call.parameters["DesiredWeightsAndCapacities"])
        for each in desired:
            _check_desired(endpoint, each)
        self._rollout.scale(endpoint, desired)
        return {"EndpointArn": endpoint["EndpointArn"]}

    def delete_endpoint(self, call: ApiCall) -> None:
        endpoint = store.find(self._twin, ENDPOINT, call.region, call.parameters["EndpointName"])
        if endpoint["EndpointStatus"] in _IN_PROGRESS:
            raise _in_progress(endpoint)
        endpoint.update(EndpointStatus="Deleting", LastModifiedTime=now())
        fleet.keep_group(endpoint, None)
        fleet.tell(self._twin, endpoint)
        self._deregister_scalable_targets(call.region, endpoint)
        seconds = self._twin.scaled(DELETION_SECONDS)
        self._twin.later(seconds, "sagemaker.delete", call.region, endpoint["EndpointArn"])

    def _forget(self, region: str, arn: str) -> None:
        endpoint = store.documents(self._twin, ENDPOINT, region).get(arn)
        if endpoint and endpoint["EndpointStatus"] == "Deleting":
            if self._twin.fleet.busy(endpoint["EndpointArn"]):  # requests are still in progress
                self._twin.later(_LOOK_SECONDS, "sagemaker.delete", region, arn)
            else:
                store.drop(self._twin, ENDPOINT, endpoint)

    def _deregister_scalable_targets(self, region: str, endpoint: Document) -> None:
        # The caller's permission was judged with DeleteEndpoint.
        if self._twin.handler("application-autoscaling", "DeregisterScalableTarget") is None:
            return
        for variant in endpoint["variants"]:
            resource = f"endpoint/{endpoint['EndpointName']}/variant/{variant}"
            given = {"ServiceNamespace": "sagemaker", "ResourceId": resource, "ScalableDimension": _DIMENSION}
            with suppress(AwsApiError):  # the variant is not a scalable target
                ask(self._twin, "application-autoscaling", "DeregisterScalableTarget", region, given)


def set_instance_count(twin: AccountTwin, region: str, endpoint_name: str, variant: str, count: int) -> None:
    """Scales a variant as UpdateEndpointWeightsAndCapacities does, for application autoscaling.

    Raises:
        AwsApiError: the endpoint or variant does not exist, or the endpoint is being changed.
    """
    call = ApiCall(
        store.SERVICE,
        "UpdateEndpointWeightsAndCapacities",
        {
            "EndpointName": endpoint_name,
            "DesiredWeightsAndCapacities": [{"VariantName": variant, "DesiredInstanceCount": count}],
        },
        "",
        region,
        "",
    )
    handler = twin.handler(call.service, call.operation)
    assert handler
    handler(call)


def described(endpoint: Document) -> Document:
    """Returns an endpoint as DescribeEndpoint answers it: the serving configuration, and the one being deployed."""
    config = endpoint["config"]
    answer = {name: value for name, value in endpoint.items() if name not in _OURS}
    shown = summaries(config, endpoint["variants"])
    if shown:
        answer["ProductionVariants"] = shown
    if shadows := deployed(config, endpoint["variants"], "ShadowProductionVariants"):
        answer["ShadowProductionVariants"] = shadows
    for name in ("AsyncInferenceConfig", "ExplainerConfig", "MetricsConfig", "CrossRegionTrafficConfig"):
        if name in config:
            answer[name] = config[name]
    if capture := config.get("DataCaptureConfig"):
        answer["DataCaptureConfig"] = {
            "EnableCapture": capture.get("EnableCapture", False),
            "CaptureStatus": "Started" if capture.get("EnableCapture") else "Stopped",
            "CurrentSamplingPercentage": capture["InitialSamplingPercentage"],
            "DestinationS3Uri": capture["DestinationS3Uri"],
            "KmsKeyId": capture.get("KmsKeyId", ""),
        }
    if pending := endpoint.get("rollout"):
        answer.update(pending.get("shown", {}))
    return answer


def _require_settled(endpoint: Document) -> None:
    if endpoint["EndpointStatus"] in _IN_PROGRESS:
        raise _in_progress(endpoint)
    if endpoint["EndpointStatus"] == "Failed":
        message = f'Cannot update endpoint "{endpoint["EndpointArn"]}" in status Failed.'
        raise AwsApiError("ValidationException", message)


def _in_progress(endpoint: Document) -> AwsApiError:
    return AwsApiError("ValidationException", f'Cannot update in-progress endpoint "{endpoint["EndpointArn"]}".')


def _retained(endpoint: Document, config: Document, excluded: set[str]) -> dict[str, Document]:
    kept: dict[str, Document] = {}
    for variant in config["ProductionVariants"]:
        live = endpoint["variants"].get(variant["VariantName"])
        if live:
            names = {"DesiredInstanceCount", "DesiredWeight"} - excluded
            kept[variant["VariantName"]] = {name: live[name] for name in names if name in live}
    return kept


def _check_desired(endpoint: Document, desired: Document) -> None:
    name = desired["VariantName"]
    if name not in endpoint["variants"]:
        message = f'Could not find production variant "{name}" of endpoint "{endpoint["EndpointArn"]}".'
        raise AwsApiError("ValidationException", message)
    scales_to_zero = "AsyncInferenceConfig" in endpoint["config"] or any(
        "ManagedInstanceScaling" in variant for variant in endpoint["config"]["ProductionVariants"]
    )
    if desired.get("DesiredInstanceCount") == 0 and not scales_to_zero:
        message = f"DesiredInstanceCount of variant {name} must be at least 1: only asynchronous endpoints scale to 0."
        raise AwsApiError("ValidationException", message)
