"""The command and environment of a job on its nodes.

https://learn.microsoft.com/azure/machine-learning/reference-yaml-job-command
https://learn.microsoft.com/azure/machine-learning/how-to-train-distributed-gpu
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmops_twins.azure.protocol.calls import Document
from llmops_twins.azure.protocol.ids import Id

_PLACEHOLDER = re.compile(r"\$\{\{\s*(inputs|outputs)\.(\w+)\s*\}\}")
_OPTIONAL = re.compile(r"\$\[\[(.*?)\]\]", re.S)


@dataclass(frozen=True)
class JobProcess:
    """One process of a job: its node's number and address, its number on the node, and the totals."""

    node: int
    nodes: int
    process: int
    processes: int
    master: str
    port: int

    @property
    def rank(self) -> int:
        """The process's number among all processes of the job."""
        return self.node * self.processes + self.process


def processes_of(properties: Mapping[str, Any]) -> int:
    """Returns the number of processes on each node."""
    distribution = properties.get("distribution") or {}
    if distribution.get("distributionType") != "PyTorch":
        return 1
    return int(distribution.get("processCountPerInstance") or 1)


def command_of(properties: Mapping[str, Any], folders: Mapping[tuple[str, str], str]) -> str:
    """Returns the command with its placeholders replaced by paths of folders and literal inputs. `$[[ ]]` is omitted if
    an input in it was not given.
    """
    inputs = properties.get("inputs") or {}

    def value(match: re.Match[str]) -> str:
        direction, name = match[1], match[2]
        if (direction, name) in folders:
            return folders[direction, name]
        given = inputs.get(name) or {}
        return str(given.get("value") or given.get("uri") or "")

    def optional(match: re.Match[str]) -> str:
        needed = _PLACEHOLDER.findall(match[1])
        return match[1] if all(d == "outputs" or name in inputs for d, name in needed) else ""

    return _PLACEHOLDER.sub(value, _OPTIONAL.sub(optional, properties["command"]))


def environment_of(
    job: Document, client_id: str, folders: Mapping[tuple[str, str], str], place: JobProcess, url: str
) -> dict[str, str]:
    """Returns the variables of one process: Azure's, and the job's own."""
    properties, parsed = job["properties"], Id.parse(job["id"])
    environ = {
        "AZUREML_RUN_ID": job["name"],
        "AZUREML_ROOT_RUN_ID": job["name"],
        "AZUREML_EXPERIMENT_NAME": properties["experimentName"],
        "AZUREML_ARM_PROJECT_NAME": properties["experimentName"],
        "AZUREML_ARM_SUBSCRIPTION": parsed.subscription,
        "AZUREML_ARM_RESOURCEGROUP": parsed.group,
        "AZUREML_ARM_WORKSPACE_NAME": parsed.names[0],
        "AZUREML_SERVICE_ENDPOINT": url,
        "AZUREML_NODE_COUNT": str(place.nodes),
    }
    if client_id:
        environ["DEFAULT_IDENTITY_CLIENT_ID"] = client_id
    for (direction, name), path in folders.items():
        environ[f"AZURE_ML_{direction[:-1].upper()}_{name}"] = path
    if (properties.get("distribution") or {}).get("distributionType") == "PyTorch":
        environ |= {
            "MASTER_ADDR": place.master,
            "MASTER_PORT": str(place.port),
            "WORLD_SIZE": str(place.nodes * place.processes),
            "NODE_RANK": str(place.node),
            "RANK": str(place.rank),
            "LOCAL_RANK": str(place.process),
            "LOCAL_WORLD_SIZE": str(place.processes),
        }
    return environ | {name: str(value) for name, value in (properties.get("environmentVariables") or {}).items()}
