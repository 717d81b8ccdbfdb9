"""Reads the logs of an endpoint: the output of its deployments' servers.

https://learn.microsoft.com/rest/api/azureml/online-deployments/get-logs
"""

import time
from collections.abc import Iterator, Sequence

from llmops_kit.clouds.azure.arm import ResourceManager
from llmops_kit.core.errors import KitError

_POLL_SECONDS = 2.0
_SERVER = "InferenceServer"
_LINES = 5000  # Azure returns only the last ones


def read_logs(arm: ResourceManager, endpoint: str, follow: bool) -> Iterator[str]:
    """Yields the last lines of every deployment's servers; with `follow`, also new ones.

    Args:
        arm: Azure Resource Manager.
        endpoint: its resource id.
        follow: continue with new lines.

    Raises:
        KitError: it has no deployment.
    """
    told: dict[str, list[str]] = {}
    while True:
        names = [deployment["name"] for deployment in arm.list(f"{endpoint}/deployments")]
        if not names and not follow:
            raise KitError("has no deployment", where=f"endpoint {endpoint.rpartition('/')[2]}", fix="`llmops up`")
        for name in names:
            lines = _lines(arm, f"{endpoint}/deployments/{name}")
            for line in lines[overlap(told.get(name, []), lines) :]:
                yield f"{name}: {line}" if len(names) > 1 else line
            told[name] = lines
        if not follow:
            return
        time.sleep(_POLL_SECONDS)


def overlap(before: Sequence[str], now: Sequence[str]) -> int:
    """Returns how many of the first lines of `now` were the last ones of `before`: Azure returns the end of a log
    without its position.
    """
    for count in range(min(len(before), len(now)), 0, -1):
        if before[-1] == now[count - 1] and list(before[-count:]) == list(now[:count]):
            return count
    return 0


def _lines(arm: ResourceManager, deployment: str) -> list[str]:
    answer = arm.post(deployment, "getLogs", {"containerType": _SERVER, "tail": _LINES})
    return str((answer or {}).get("content") or "").splitlines()
