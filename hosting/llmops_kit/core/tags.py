"""Tags of resources that several parts of the kit use."""

FOR_TAG = "llmops:for"
"""Tag of what bootstrap creates for a stack: `PROJECT/STACK`. The stack's program uses it, but never removes it."""


def made_for(project: str, stack: str) -> dict[str, str]:
    return {FOR_TAG: f"{project}/{stack}"}
