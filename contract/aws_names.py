"""Names on AWS that the program gives and that the policies of `llmops bootstrap aws` are written for."""


def role_path(project: str) -> str:
    """IAM path of every role that the stacks of a project make.

    Policies allow changes of roles below it and of no other: nothing that is not a stack's belongs there.
    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html
    """
    return f"/llmops-kit/{project}/"


def ci_path(project: str) -> str:
    """IAM path of the roles that workflows take; no policy of bootstrap allows a change below it."""
    return f"/llmops-ci/{project}/"
