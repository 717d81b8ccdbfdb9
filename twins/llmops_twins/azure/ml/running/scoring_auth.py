"""Authentication of scoring requests: bearer tokens with a permission on the endpoint, or the endpoint's keys.

https://learn.microsoft.com/azure/machine-learning/how-to-authenticate-online-endpoint
"""

import hmac
from collections.abc import Mapping

from llmops_twins.azure.entra import tokens
from llmops_twins.azure.ml.endpoints import token_audience
from llmops_twins.azure.protocol.calls import Document
from llmops_twins.azure.twin import TenantTwin

SCORE = "Microsoft.MachineLearningServices/workspaces/onlineEndpoints/score/action"


def authenticate(twin: TenantTwin, endpoint: Document, headers: Mapping[str, str]) -> None:
    """Authenticates a request for an endpoint; without the twin's lock.

    Raises:
        ArmError: 401 or 403.
    """
    mode = endpoint["properties"]["authMode"]
    if mode == "Key":
        _check_key(twin, endpoint, headers)
    elif mode == "AMLToken":
        tokens.caller_of(twin, headers, (token_audience(endpoint),))
    else:
        caller = tokens.caller_of(twin, headers, tokens.ML)
        with twin.lock:
            twin.require(caller, SCORE, endpoint["id"])


def _check_key(twin: TenantTwin, endpoint: Document, headers: Mapping[str, str]) -> None:
    given = headers.get("Authorization", "").removeprefix("Bearer ").strip()
    keys = endpoint.get("_keys") or {}
    if not any(hmac.compare_digest(given.encode(), key.encode()) for key in keys.values()):
        raise tokens.unauthorized(twin, "Unauthorized", "key_auth_access_denied")
