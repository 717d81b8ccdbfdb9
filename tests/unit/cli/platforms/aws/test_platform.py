"""What a stack on AWS refuses before anything is made ready."""

import pytest
from pydantic import ValidationError

from llmops_kit.cli.platforms.aws.platform import AwsPlatform
from llmops_kit.clouds.aws.settings import AwsSettings
from llmops_kit.core.documents.outputs import StackOutputs
from llmops_kit.core.documents.run import Compute
from llmops_kit.core.errors import KitError

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
