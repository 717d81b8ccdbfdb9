"""SageMaker's control plane: https://docs.aws.amazon.com/sagemaker/latest/APIReference/Welcome.html

The operations registered here replace moto's; moto answers all others (pipelines, notebooks, …).
"""

from twins.aws.sagemaker.documents import SERVICE
from twins.aws.sagemaker.endpoints.endpoints import Endpoints
from twins.aws.sagemaker.jobs.training import TrainingOperations
from twins.aws.sagemaker.models import Models
from twins.aws.sagemaker.packages import Packages
from twins.aws.sagemaker.tags import Tags
from twins.aws.services.documents import implement_methods
from twins.aws.twin import AccountTwin


def install(twin: AccountTwin) -> None:
    """Registers SageMaker's control plane with the twin."""
    for answers in (Models(twin), Endpoints(twin), Packages(twin), TrainingOperations(twin), Tags(twin)):
        implement_methods(twin, SERVICE, answers)
