"""Sends OpenAI requests to the scoring URL of an endpoint on Azure Machine Learning, streamed or not.

https://learn.microsoft.com/azure/machine-learning/how-to-troubleshoot-online-endpoints#http-status-codes
"""

import http.client
from collections.abc import Iterator
from typing import Any

from llmops_kit.cli.chat_http import PASSING, refusal_words
from llmops_kit.cli.chat_http import ask as ask_openai
from llmops_kit.clouds.azure.session import ML_SCOPE, AzureSession
from llmops_kit.core.errors import BusyError, KitError

_MODEL_STATUS = "ms-azureml-model-error-statuscode"
_LOOK = "`llmops status` shows the endpoint, `llmops logs` its output"
_FIXES = {
    401: "run `az login`: Azure rejects this shell's token",
    403: "the role AzureML Data Scientist on the workspace",
    404: "`llmops up` restores it",
    408: "it took longer than the deployment's request timeout: request fewer tokens, or a stream",
    429: "it is busy: try again in a moment",
}


def ask(session: AzureSession, endpoint: str, url: str, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Sends a chat request; yields the answer, or its chunks if `request["stream"]` is true.

    Closing the iterator closes the connection, which stops the generation.

    Args:
        session: of the stack's tenant.
        endpoint: its name in the stack.
        url: its scoring URL, without a route.
        request: the body of /v1/chat/completions.

    Raises:
        BusyError: it accepts no request at the moment.
        KitError: with the message of Azure or of the server in the container.
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

    It expires about an hour after it was issued; Entra ID sets this.

    Args:
        session: of the stack's tenant.
        hours: requested lifetime; at most 1.

    Raises:
        KitError: the requested lifetime is longer, or there are no credentials.
    """
    if hours > 1:
        raise KitError(
            "a token of Entra ID expires after about an hour, which can't be changed",
            where="--hours",
            fix="omit it, and get a new token once it has expired",
        )
    return session.token(ML_SCOPE)
