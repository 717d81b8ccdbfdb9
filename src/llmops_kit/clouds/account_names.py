"""Builds names in a cloud's account: a readable prefix, and a hash as suffix."""

import hashlib
import re


def readable(*parts: str) -> str:
    """Joins parts to a name like `llmops-dev-chatbot`: lower case, digits and single dashes, a letter first."""
    text = re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")
    return text if text[:1].isalpha() else f"s{text}"


def named_after(project: str, stack: str, thing: str, limit: int = 63, *others: str) -> str:
    """Returns a name such as `llmops-dev-chatbot-3f9a0c1e`, which ends in a hash of everything that it depends on.

    Args:
        project: the Pulumi project.
        stack: its stack.
        thing: the resource, unique in the stack.
        limit: of the service; 63 suits S3, SageMaker, IAM, EventBridge Scheduler, and services that allow more.
        others: further parts of the hash, such as the subscription for names that are unique in a whole region.
    """
    return f"{readable(project, stack, thing)[: limit - 9].rstrip('-')}-{digest(project, stack, thing, *others)[:8]}"


def digest(*parts: str) -> str:
    """Returns the hex sha256 of parts; different lists of parts give different hashes."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
