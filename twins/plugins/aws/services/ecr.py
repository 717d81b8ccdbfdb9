"""ECR: repositories and their policies."""

from twins.plugins.aws.calls import AwsError, Work
from twins.plugins.aws.kinds import MINUTE, Kind, Part
from twins.plugins.aws.tags import Tagging
from twins.plugins.plugin import ProviderError

NO_REPOSITORY = ("RepositoryNotFoundException",)
REPOSITORY = {"repositoryName": "{id}"}


class Repository(Kind):
    """A repository: only an empty one goes, unless forceDelete was recorded."""

    def call_delete(self, work: Work) -> None:
        force = bool(work.state.get("forceDelete"))
        try:
            work.call("ecr", "DeleteRepository", repositoryName=work.id, force=force)
        except AwsError as error:
            if error.is_one_of(("RepositoryNotEmptyException",)):
                raise ProviderError(
                    f"ECR Repository ({work.id}) not empty, consider using force_delete: {error}"
                ) from None
            raise

    def put_part(self, work: Work, part: Part) -> None:
        if part.put == "PutImageScanningConfiguration":
            scan = bool((work.inputs.get("imageScanningConfiguration") or {}).get("scanOnPush"))
            configuration = {"scanOnPush": scan}
            work.call("ecr", part.put, repositoryName=work.id, imageScanningConfiguration=configuration)
        else:
            super().put_part(work, part)


KINDS = (
    Repository(
        "aws:ecr/repository:Repository",
        "ecr",
        "ECR Repository",
        "{name}",
        create="CreateRepository",
        read="DescribeRepositories",
        delete="DeleteRepository",
        identity=REPOSITORY,
        read_identity={"repositoryNames": ["{id}"]},
        pick="repositories[0]",
        prefix="repository",
        renames={"repositoryUrl": "repositoryUri"},
        parts=(
            Part(("imageTagMutability", "imageTagMutabilityExclusionFilters"), "PutImageTagMutability"),
            Part(("imageScanningConfiguration",), "PutImageScanningConfiguration"),
        ),
        tags=Tagging("TagResource", "UntagResource", "ListTagsForResource", {"resourceArn": "{arn}"}),
        gone=NO_REPOSITORY,
        wait_gone=20 * MINUTE,
    ),
    Kind(
        "aws:ecr/lifecyclePolicy:LifecyclePolicy",
        "ecr",
        "ECR Lifecycle Policy",
        "{repository}",
        create="PutLifecyclePolicy",
        read="GetLifecyclePolicy",
        delete="DeleteLifecyclePolicy",
        identity=REPOSITORY,
        renames={"repository": "repositoryName", "policy": "lifecyclePolicyText"},
        gone=(*NO_REPOSITORY, "LifecyclePolicyNotFoundException"),
    ),
    Kind(
        "aws:ecr/repositoryPolicy:RepositoryPolicy",
        "ecr",
        "ECR Repository Policy",
        "{repository}",
        create="SetRepositoryPolicy",
        read="GetRepositoryPolicy",
        update="SetRepositoryPolicy",
        delete="DeleteRepositoryPolicy",
        identity=REPOSITORY,
        renames={"repository": "repositoryName", "policy": "policyText"},
        gone=(*NO_REPOSITORY, "RepositoryPolicyNotFoundException"),
        retry=("InvalidParameterException: Invalid repository policy provided",),
    ),
)
