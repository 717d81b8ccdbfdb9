"""Models and endpoint configurations, with every member kept.

https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateModel.html
https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateEndpointConfig.html
"""

from typing import Any

from llmops_twins.aws import sagemaker_documents as store
from llmops_twins.aws.calls import ApiCall, AwsApiError
from llmops_twins.aws.sagemaker import image_lookup
from llmops_twins.aws.sagemaker.execution_roles import require_role
from llmops_twins.aws.sagemaker_documents import CONFIG, MODEL, Listing
from llmops_twins.aws.service_documents import Document
from llmops_twins.aws.twin import AccountTwin

_MODELS = Listing("Models", ("ModelName", "ModelArn", "CreationTime"))
_CONFIGS = Listing("EndpointConfigs", ("EndpointConfigName", "EndpointConfigArn", "CreationTime"))


class Models:
    """Operations on models and endpoint configurations. Each public method implements the operation of its name."""

    def __init__(self, twin: AccountTwin) -> None:
        self._twin = twin

    def create_model(self, call: ApiCall) -> Document:
        given = call.parameters
        containers = given.get("Containers") or []
        if bool(given.get("PrimaryContainer")) == bool(containers):
            raise AwsApiError("ValidationException", "Exactly one of PrimaryContainer and Containers must be provided.")
        if store.lookup(self._twin, MODEL, call.region, given["ModelName"]) is None:
            for container in containers or [given["PrimaryContainer"]]:
                self._check_container(container)
            require_role(self._twin, given.get("ExecutionRoleArn", ""))
        document = store.create(self._twin, MODEL, call)
        document.setdefault("EnableNetworkIsolation", False)
        for container in document.get("Containers") or [document["PrimaryContainer"]]:
            container.setdefault("Mode", "SingleModel")
        return {"ModelArn": document["ModelArn"]}

    def describe_model(self, call: ApiCall) -> Document:
        return store.find(self._twin, MODEL, call.region, call.parameters["ModelName"])

    def list_models(self, call: ApiCall) -> Document:
        return store.page_of(call, MODEL, store.documents(self._twin, MODEL, call.region), _MODELS)

    def delete_model(self, call: ApiCall) -> None:
        store.delete(self._twin, MODEL, call.region, call.parameters["ModelName"])

    def create_endpoint_config(self, call: ApiCall) -> Document:
        twin, given = self._twin, call.parameters
        if store.lookup(twin, CONFIG, call.region, given["EndpointConfigName"]) is None:
            variants = [*given["ProductionVariants"], *given.get("ShadowProductionVariants", [])]
            names = [variant["VariantName"] for variant in variants]
            if len(names) != len(set(names)):
                raise AwsApiError(
                    "ValidationException", "Variant names must be unique within an endpoint configuration."
                )
            for variant in variants:
                self._check_variant(call, variant)
        document = store.create(twin, CONFIG, call)
        document.setdefault("EnableNetworkIsolation", False)
        for variant in [*document["ProductionVariants"], *document.get("ShadowProductionVariants", [])]:
            variant.setdefault("InitialVariantWeight", 1.0)
        return {"EndpointConfigArn": document["EndpointConfigArn"]}

    def describe_endpoint_config(self, call: ApiCall) -> Document:
        return store.find(self._twin, CONFIG, call.region, call.parameters["EndpointConfigName"])

    def list_endpoint_configs(self, call: ApiCall) -> Document:
        return store.page_of(call, CONFIG, store.documents(self._twin, CONFIG, call.region), _CONFIGS)

    def delete_endpoint_config(self, call: ApiCall) -> None:
        # As on AWS, one in use can be deleted: the endpoint continues to serve, but its next update fails.
        store.delete(self._twin, CONFIG, call.region, call.parameters["EndpointConfigName"])

    def _check_container(self, container: Document) -> None:
        if container.get("ModelDataUrl") and container.get("ModelDataSource"):
            raise AwsApiError("ValidationException", "Only one of ModelDataUrl and ModelDataSource can be provided.")
        image = container.get("Image")
        if image is None and not container.get("ModelPackageName"):
            raise AwsApiError("ValidationException", "Image or ModelPackageName must be provided for a container.")
        if image:
            image_lookup.require_usable(
                self._twin, image, container.get("ImageConfig", {}).get("RepositoryAccessMode", "")
            )

    def _check_variant(self, call: ApiCall, variant: dict[str, Any]) -> None:
        if name := variant.get("ModelName"):
            store.find(self._twin, MODEL, call.region, name)
        elif not call.parameters.get("ExecutionRoleArn"):
            message = "ExecutionRoleArn must be provided when a production variant has no ModelName."
            raise AwsApiError("ValidationException", message)
        pooled = variant.get("InstanceType") or variant.get("InstancePools")
        if bool(pooled) == bool(variant.get("ServerlessConfig")):
            name = variant["VariantName"]
            message = f"Exactly one of InstanceType and ServerlessConfig must be provided for variant {name}."
            raise AwsApiError("ValidationException", message)
