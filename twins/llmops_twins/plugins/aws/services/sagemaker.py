"""SageMaker: endpoint configurations and endpoints."""

import secrets
from typing import Any

from llmops_twins.plugins.aws.calls import PATIENCE, ResourceOperation
from llmops_twins.plugins.aws.kinds import AwsResourceKind
from llmops_twins.plugins.plugin import ProviderError

ROLE = "ould not assume"  # of "Could not assume role …", the error for a role too new to be used


class SageMakerEndpointConfiguration(AwsResourceKind):
    """An endpoint configuration. Variants without a name get one; variants without a model lose their weight."""

    def parameters(self, work: ResourceOperation, operation: str) -> dict[str, Any]:
        found = super().parameters(work, operation)
        for variant in [*found.get("ProductionVariants", []), *found.get("ShadowProductionVariants", [])]:
            variant.setdefault("VariantName", f"terraform-{secrets.token_hex(13)}")
            if "ModelName" not in variant:
                variant.pop("InitialVariantWeight", None)
                variant.pop("EnableSSMAccess", None)
        return found


class SageMakerEndpoint(AwsResourceKind):
    """An endpoint. One that does not come into service is not recorded, though it exists, as with the real plugin."""

    def make(self, work: ResourceOperation) -> tuple[str, dict[str, Any]]:
        answer = self.call_create(work)
        work.id = self.id_after_create(work, answer)
        try:
            self.await_ready(work)
        except ProviderError as error:
            if ROLE not in str(error):
                raise
            self._again(work)
        return work.id, self.state_after(work)

    def _again(self, work: ResourceOperation) -> None:
        """Removes a failed endpoint and creates it once more, as the plugin does, because the role may not have worked
        yet.
        """
        self.remove(work)
        work.pause(PATIENCE / 10)
        self.call_create(work)
        self.await_ready(work)

    def call_read(self, work: ResourceOperation) -> dict[str, Any] | None:
        answer = super().call_read(work)
        return None if answer and answer.get("EndpointStatus") == "Deleting" else answer
