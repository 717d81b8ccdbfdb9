"""Invocations: in this half of the twin no container runs, and a caller is told so at once.

https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html
"""

from twins.aws.calls import ApiError, Call
from twins.aws.services import sagemaker_documents as store
from twins.aws.services.documents import Document
from twins.aws.services.sagemaker_documents import ENDPOINT
from twins.aws.twin import Twin

NO_CONTAINERS = "This twin of AWS runs no containers yet: endpoint {name} exists, and nothing answers for it"
OPERATIONS = ("InvokeEndpoint", "InvokeEndpointAsync", "InvokeEndpointWithResponseStream")


class Runtime:
    """Answers invocations of endpoints."""

    def __init__(self, twin: Twin) -> None:
        self._twin = twin

    def invoke(self, call: Call) -> Document:
        """Refuse an invocation.

        Raises:
            ApiError: there is no such endpoint, or it is there and runs nothing.
        """
        name = call.parameters["EndpointName"]
        endpoint = store.lookup(self._twin, ENDPOINT, call.region, name)
        if endpoint is None or not endpoint["variants"]:
            raise ApiError("ValidationError", f"Endpoint {name} of account {self._twin.account} not found.")
        text = NO_CONTAINERS.format(name=name)
        raise ApiError("ModelError", text, 424, OriginalStatusCode=503, OriginalMessage=text, LogStreamArn="")
