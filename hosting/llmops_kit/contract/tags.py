"""Tags by which one part of the kit knows what another made."""

FOR_TAG = "llmops:for"
"""On what bootstrap makes for one stack: `PROJECT/STACK`. The stack's program takes it, and never removes it."""


def made_for(project: str, stack: str) -> dict[str, str]:
    return {FOR_TAG: f"{project}/{stack}"}
