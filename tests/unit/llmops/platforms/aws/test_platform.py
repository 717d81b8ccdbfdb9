"""What a stack on AWS refuses before anything is made ready."""

import pytest
from pydantic import ValidationError

from clouds.aws.settings import AwsSettings
from contract.documents.outputs import StackOutputs
from contract.documents.run import Compute
from contract.errors import KitError
from llmops.platforms.aws.platform import AwsPlatform

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
    with pytest.raises(KitError, match="Standard_DS3_v2 is no instance type of SageMaker's"):
        AwsPlatform(OUTPUTS).require_machines(Compute(instance_type="Standard_DS3_v2"))
    with pytest.raises(ValidationError, match=r"jobs\.instance_type"):
        AwsSettings.model_validate({"jobs": {"instance_type": "Standard_DS3_v2"}})
