"""Names in a cloud's account: how all of them begin, and IAM paths, which policies of `llmops bootstrap aws` name."""

import re


def role_path(project: str) -> str:
    """IAM path of every role that the stacks of a project make.

    Policies allow changes of roles below it and of no other: nothing that is not a stack's belongs there.
    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html
    """
    return f"/llmops-kit/{project}/"


def ci_path(project: str) -> str:
    """IAM path of the roles that workflows take; no policy of bootstrap allows a change below it."""
    return f"/llmops-ci/{project}/"


def readable(*parts: str) -> str:
    """`llmops-dev-chatbot`: small letters, digits and single dashes, a letter first."""
    text = re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")
    return text if text[:1].isalpha() else f"s{text}"
