"""ECR: repositories."""

from llmops_twins.plugins.aws.calls import AwsError, ResourceOperation
from llmops_twins.plugins.aws.kinds import AwsResourceKind, KindPart
from llmops_twins.plugins.plugin import ProviderError


class EcrRepository(AwsResourceKind):
    """A repository. Only an empty one can be deleted, unless forceDelete was recorded."""

    def call_delete(self, work: ResourceOperation) -> None:
        force = bool(work.state.get("forceDelete"))
        try:
            work.call("ecr", "DeleteRepository", repositoryName=work.id, force=force)
        except AwsError as error:
            if error.is_one_of(("RepositoryNotEmptyException",)):
                raise ProviderError(
                    f"ECR Repository ({work.id}) not empty, consider using force_delete: {error}"
                ) from None
            raise

    def put_part(self, work: ResourceOperation, part: KindPart) -> None:
        if part.put == "PutImageScanningConfiguration":
            scan = bool((work.inputs.get("imageScanningConfiguration") or {}).get("scanOnPush"))
            configuration = {"scanOnPush": scan}
            work.call("ecr", part.put, repositoryName=work.id, imageScanningConfiguration=configuration)
        else:
            super().put_part(work, part)
