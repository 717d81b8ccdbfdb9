"""Versions of models and environments of Azure ML: they are put, and archived in the place of being deleted.

The tools of its second API archive assets only (https://github.com/Azure/azure-cli/issues/21957). What a DELETE does is
known of models alone (https://github.com/Azure/azureml-examples/pull/3743), and in registries what was deleted can't be
made again (https://github.com/Azure/azureml-assets/pull/2919). What uses an archived version goes on using it.
"""

from collections.abc import Mapping
from typing import Any

_READ_ONLY = ("provisioningState", "environmentType", "latestVersion", "nextVersion")


def archived(document: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the request body that archives a version or a container of versions.

    https://learn.microsoft.com/azure/machine-learning/how-to-manage-models#archive

    Args:
        document: as Azure has it.
    """
    kept = {name: value for name, value in document["properties"].items() if name not in _READ_ONLY}
    return {"properties": {**kept, "isArchived": True}}


def is_archived(document: Mapping[str, Any]) -> bool:
    """Returns whether a version is archived, that is, hidden from lists."""
    return bool(document["properties"].get("isArchived"))
