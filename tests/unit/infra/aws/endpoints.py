"""An endpoint on moto, and the properties that the engine gives to the dynamic resources around it."""

from typing import Any

import boto3
from moto.sagemaker.models import sagemaker_backends

from llmops_kit.infra.targets.aws.providers import live, preparation
from llmops_kit.infra.targets.dynamic import Properties
from tests.unit.infra.aws.conftest import ACCOUNT, REGION

NAME = "llmops-demo-chat"
OURS = {"llmops:project": "llmops", "llmops:stack": "demo"}
PLACE = {"account": ACCOUNT, "region": REGION, "profile": ""}
OLD, NEW = "1" * 64, "2" * 64
BUCKET = "the-store"
PREPARATION = preparation.AwsPreparationProvider()
LIVE = live.AwsLiveProvider()


def sagemaker() -> Any:
    return boto3.client("sagemaker", region_name=REGION)


def make_endpoint(status: str = "InService", *, count: int = 1, tags: dict[str, str] | None = None) -> None:
    """An endpoint that serves version OLD by configuration `old`."""
    environment = {"LLMOPS_MODEL_NAME": "chatbot@1", "LLMOPS_MODEL_SHA256": OLD}
    sagemaker().create_model(
        ModelName="old",
        PrimaryContainer={"Image": "i", "Environment": environment},
        ExecutionRoleArn="arn:aws:iam::1:role/r",
    )
    variant = {
        "VariantName": "main",
        "ModelName": "old",
        "InstanceType": "ml.m5.large",
        "InitialInstanceCount": count,
        "InitialVariantWeight": 1.0,
    }
    sagemaker().create_endpoint_config(EndpointConfigName="old", ProductionVariants=[variant])
    listed = [{"Key": k, "Value": v} for k, v in (OURS if tags is None else tags).items()]
    sagemaker().create_endpoint(EndpointName=NAME, EndpointConfigName="old", Tags=listed)
    sagemaker_backends[ACCOUNT][REGION].endpoints[NAME].endpoint_status = status


def exists() -> bool:
    return bool(sagemaker().list_endpoints()["Endpoints"])


def prepared(**other: Any) -> Properties:
    return {
        **PLACE,
        "endpoint": NAME,
        "tags": OURS,
        "model": "m1",
        "content": "c1",
        "instances": 1,
        "max_instances": 0,
        "instance_type": "ml.m5.large",
        "store": BUCKET,
        "alarms": ["a", "b"],
        **other,
    }


def known(**other: Any) -> Properties:
    return prepared(**other) | {"model_number": 1, "number": 1, "initial_instances": 1}


def compared(**other: Any) -> Properties:
    return {
        **PLACE,
        "endpoint": NAME,
        "configuration": "old",
        "model": "chatbot@1",
        "sha256": OLD,
        "image": "i",
        "instances": 1,
        "min_instances": 0,
        "max_instances": 0,
        "weight": 1,
        "store": BUCKET,
        "setting": "llmops:endpoints.chat.model",
        **other,
    }


def update(olds: Properties, news: Properties) -> Properties | None:
    """As the engine does."""
    return PREPARATION.update("", olds, PREPARATION.check(olds, news).inputs).outs
