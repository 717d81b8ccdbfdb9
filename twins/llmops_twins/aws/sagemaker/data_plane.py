"""SageMaker's data plane:
https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_Operations_Amazon_SageMaker_Runtime.html
"""

from llmops_twins.aws.sagemaker.runtime.asynchronous import AsyncInvocations
from llmops_twins.aws.sagemaker.runtime.invocations import InvocationOperations
from llmops_twins.aws.sagemaker.runtime.openai import OpenAi
from llmops_twins.aws.service_documents import implement_methods
from llmops_twins.aws.twin import AccountTwin


def install(twin: AccountTwin) -> None:
    """Registers SageMaker's invocations with the twin."""
    runtime = InvocationOperations(twin)
    implement_methods(twin, "sagemaker-runtime", runtime)
    implement_methods(twin, "sagemaker-runtime", AsyncInvocations(twin, runtime))
    OpenAi(twin, runtime)
