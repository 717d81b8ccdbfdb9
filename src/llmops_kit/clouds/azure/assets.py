"""Archives versions of models and environments of Azure ML, instead of deleting them.

Microsoft's own tools only archive assets (https://github.com/Azure/azure-cli/issues/21957). The effect of a DELETE is
known only for models (https://github.com/Azure/azureml-examples/pull/3743), and in registries deleted assets can't be
created again (https://github.com/Azure/azureml-assets/pull/2919). Users of an archived version can still use it.
"""

from collections.abc import Mapping
from typing import Any

_READ_ONLY = ("provisioningState", "environmentType", "latestVersion", "nextVersion")


def archived(document: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the request body that archives a version or a container of versions.

    https://learn.microsoft.com/azure/machine-learning/how-to-manage-models#archive

    Args:
        document: the current one on Azure.
    """
    kept = {name: value for name, value in document["properties"].items() if name not in _READ_ONLY}
    return {"properties": {**kept, "isArchived": True}}


def is_archived(document: Mapping[str, Any]) -> bool:
    """Returns whether a version is archived, that is, hidden from lists."""
    return bool(document["properties"].get("isArchived"))
