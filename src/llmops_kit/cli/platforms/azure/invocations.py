"""Ask an endpoint on Azure Machine Learning in the OpenAI contract, at its scoring address: at once, or as a stream.

https://learn.microsoft.com/azure/machine-learning/how-to-troubleshoot-online-endpoints#http-status-codes
"""

import http.client
from collections.abc import Iterator
from typing import Any

from llmops_kit.cli.chat_http import PASSING, refusal_words
from llmops_kit.cli.chat_http import ask as ask_openai
from llmops_kit.clouds.azure.session import ML_SCOPE, AzureSession
from llmops_kit.contract.errors import BusyError, KitError

_MODEL_STATUS = "ms-azureml-model-error-statuscode"
_LOOK = "`llmops status` shows the endpoint, `llmops logs` its words"
_FIXES = {
    401: "`az login`: Azure takes no token from here",
    403: "the role AzureML Data Scientist on the workspace",
    404: "`llmops up` brings it back",
    408: "it took longer than the deployment's request time-out: ask for fewer tokens, or as a stream",
    429: "it is busy: try again in a moment",
}


def ask(session: AzureSession, endpoint: str, url: str, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Send a chat request; the answer, or its chunks as they come where `request["stream"]` is true.

    Closing the iterator closes the connection, which stops the generation.

    Args:
        session: of the stack's tenant.
        endpoint: its name in the stack.
        url: its scoring address, without a route.
        request: the body of /v1/chat/completions.

    Raises:
        BusyError: it takes no request at the moment.
        KitError: in words what Azure, or the server in the container, said.
    """
    where = f"endpoint {endpoint}"

    def refused(response: http.client.HTTPResponse) -> KitError:
        words = refusal_words(response)
        model_status = response.getheader(_MODEL_STATUS)
        status = int(model_status) if response.status == 424 and model_status else response.status
        kind = BusyError if status in PASSING else KitError
        return kind(f"answers {status}: {words}", where=where, fix=_FIXES.get(status, _LOOK))

    return ask_openai(url, session.token(ML_SCOPE), request, where=where, refused=refused)


def bearer_token(session: AzureSession, hours: float) -> str:
    """Returns a token with which an OpenAI client calls endpoints as the caller, who needs the role AzureML Data
    Scientist. https://learn.microsoft.com/azure/machine-learning/how-to-authenticate-online-endpoint

    It ends as Entra ID says, an hour or a little more after it was given; nobody can choose that.

    Args:
        session: of the stack's tenant.
        hours: how long it is wanted; one at most.

    Raises:
        KitError: it is wanted for longer, or there are no credentials.
    """
    if hours > 1:
        raise KitError(
            "a token of Entra ID ends after about an hour, which can't be chosen",
            where="--hours",
            fix="leave it out, and start a new one once it has ended",
        )
    return session.token(ML_SCOPE)
