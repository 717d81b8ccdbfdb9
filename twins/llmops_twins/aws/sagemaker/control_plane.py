"""SageMaker's control plane: https://docs.aws.amazon.com/sagemaker/latest/APIReference/Welcome.html

The operations registered here replace moto's; moto answers all others (pipelines, notebooks, …).
"""

from llmops_twins.aws.sagemaker.endpoints.endpoints import Endpoints
from llmops_twins.aws.sagemaker.jobs.training_jobs import TrainingOperations
from llmops_twins.aws.sagemaker.models import Models
from llmops_twins.aws.sagemaker.packages import Packages
from llmops_twins.aws.sagemaker.tags import Tags
from llmops_twins.aws.sagemaker_documents import SERVICE
from llmops_twins.aws.service_documents import implement_methods
from llmops_twins.aws.twin import AccountTwin


def install(twin: AccountTwin) -> None:
    """Registers SageMaker's control plane with the twin."""
    for answers in (Models(twin), Endpoints(twin), Packages(twin), TrainingOperations(twin), Tags(twin)):
        implement_methods(twin, SERVICE, answers)
