"""Tags of resources that several parts of the kit use."""

FOR_TAG = "llmops:for"
"""Tag of resources that bootstrap creates for a stack: `PROJECT/STACK`. The stack's program uses them, but never
removes them.
"""


def made_for(project: str, stack: str) -> dict[str, str]:
    """Returns the tag of a resource that bootstrap creates for a stack."""
    return {FOR_TAG: f"{project}/{stack}"}
