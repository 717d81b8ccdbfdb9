"""What a stack on AWS refuses before anything is made ready."""

import pytest
from pydantic import ValidationError

from llmops_kit.cli.platforms.aws.platform import AwsPlatform
from llmops_kit.clouds.aws.settings import AwsSettings
from llmops_kit.core.documents.outputs import StackOutputs
from llmops_kit.core.documents.run import Compute
from llmops_kit.core.errors import KitError, NotFoundError, UnsupportedError

OUTPUTS = StackOutputs.new(
    target="aws",
    stack="dev",
    project="",
    store={"url": "s3://store"},
    signing={"private_key": "", "public_key": ""},
    training={"image": "", "runs": ""},
)


def test_instance_types_are_sagemakers() -> None:
    AwsPlatform(OUTPUTS).require_machines(Compute(instance_type="ml.g5.xlarge"))
    with pytest.raises(KitError, match="Standard_DS3_v2 is not an instance type of SageMaker's"):
        AwsPlatform(OUTPUTS).require_machines(Compute(instance_type="Standard_DS3_v2"))
    with pytest.raises(ValidationError, match=r"jobs\.instance_type"):
        AwsSettings.model_validate({"jobs": {"instance_type": "Standard_DS3_v2"}})


def test_api_keys_are_refused_with_what_gives_access_on_sagemaker() -> None:
    endpoint = {"url": "", "model": "chatbot@1", "sha256": "a" * 64, "image": "", "on": True}
    aws = {"account": "1" * 12, "region": "eu-west-1", "endpoints": {"chat": "dev-chat"}}
    given = OUTPUTS.model_dump(by_alias=True) | {"endpoints": {"chat": endpoint}, "aws": aws}
    found = AwsPlatform(StackOutputs.model_validate(given))
    with pytest.raises(UnsupportedError, match="by IAM") as caught:
        found.issued_keys("chat")
    assert "sagemaker:InvokeEndpoint on endpoint/dev-chat" in caught.value.fix
    with pytest.raises(NotFoundError):
        found.issued_keys("chatt")
