"""The error of a call of Azure Resource Manager, in its common form.

https://learn.microsoft.com/azure/azure-resource-manager/management/common-deployment-errors
"""

from collections.abc import Mapping, Sequence
from typing import Any


class ArmError(Exception):
    """A refusal: `{"error": {"code", "message", "target", "details"}}` with an HTTP status."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        target: str = "",
        details: Sequence[Mapping[str, Any]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.target = target
        self.details = [dict(detail) for detail in details]
        self.headers = dict(headers or {})

    def document(self) -> dict[str, Any]:
        """Returns the answer's body."""
        return {"error": self.error()}

    def error(self) -> dict[str, Any]:
        """Returns the body's member `error`, which a failed asynchronous operation has too."""
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.target:
            error["target"] = self.target
        if self.details:
            error["details"] = self.details
        return error


def not_found(resource_id: str) -> ArmError:
    """Returns ARM's error for a missing resource."""
    from llmops_twins.azure.protocol.ids import Id

    parsed = Id.parse(resource_id)
    return ArmError(
        404,
        "ResourceNotFound",
        f"The Resource '{parsed.type}/{'/'.join(parsed.names)}' under resource group '{parsed.group}' was not found. "
        "For more details please go to https://aka.ms/ARMResourceNotFoundFix",
    )
