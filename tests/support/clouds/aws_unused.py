"""Actions of a stack's roles that a rehearsal has no step for."""

_PULL = ("BatchCheckLayerAvailability", "BatchGetImage", "GetAuthorizationToken", "GetDownloadUrlForLayer")
_SCHEDULED = ("iam:PassRole", "kms:Decrypt", "sagemaker:AddTags", "sagemaker:CreateTrainingJob")
UNUSED: dict[tuple[str, str], str] = {
    **{
        (role, f"ecr:{action}"): "a rehearsal's images are processes, which nobody pulls from a registry"
        for role in ("training", "endpoint")
        for action in _PULL
    },
    **{("scheduler", action): "no step waits until a schedule is due" for action in _SCHEDULED},
}
"""(role, action) that a policy of a stack's roles has and no step needs -> why it stays.

twins/tests/emulated/aws/judges takes each of them away from a stack that pulls its images and has a schedule.
"""
