"""Microsoft.MachineLearningServices: the common part; see the modules beside this one.

https://learn.microsoft.com/rest/api/azureml
"""

import json
from collections.abc import Callable, Iterable
from typing import Any

from llmops_twins.azure.runner import Runner
from llmops_twins.azure.twin import TenantTwin

DISCOVERY = "/discovery"
UNJUDGED = [
    "Azure ML: serverless compute, pipelines, sweeps, registries, scoring scripts and image builds: refused",
    "Azure ML: refused: schedules by recurrence, lists of nodes, SKUs and quotas, a datastore's secrets",
    "Azure ML: uploads and downloads of files by azure-ai-ml, which constructs the name of an account's host itself",
    "Azure ML: idle connections, which ConnectionsActive counts on Azure: here it counts concurrent requests",
    "Azure ML: a location's capacity, and the limits of a real subscription",
]


def install(twin: TenantTwin) -> None:
    """Registers a runner that completes everything at once, unless there is another, and the addresses of a workspace's
    other services.
    """
    twin.unjudged += UNJUDGED
    if not hasattr(twin, "running"):
        twin.running = Runner(twin)
    twin.route(DISCOVERY, _discovery(twin))


def _discovery(twin: TenantTwin) -> Callable[..., Iterable[bytes]]:
    """Returns the application at a workspace's discoveryUrl: the addresses of its services, all of them the
    twin's own.
    """

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        names = ("api", "history", "studio", "experimentation", "modelmanagement", "notebooks", "pipelines")
        body = json.dumps(dict.fromkeys(names, twin.url)).encode()
        start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]

    return app
