"""A resource that is about to be created, and what its removals share.

What an interrupted creation left is bare, because whatever belongs to a resource is created after it: a bucket has no
policy yet, a VPC no subnets. Nothing else is removed, so a stack of the same name whose state lies elsewhere keeps all.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmops_kit.clouds.aws.session import StackSession
from llmops_kit.core.errors import KitError

_WAIT_SECONDS = 600
_LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class Leftover:
    """A resource that is about to be created."""

    session: StackSession
    inputs: Mapping[str, Any]
    """Its declared properties, by Pulumi's names: targetKeyId."""
    tags: Mapping[str, str]
    """Tags of the stack's resources."""

    def is_ours(self, tags: Sequence[Mapping[str, str]], key: str = "Key", value: str = "Value") -> bool:
        """Returns whether a resource with these tags is the stack's."""
        return self.tags.items() <= {tag[key]: tag[value] for tag in tags}.items()


Removal = Callable[[Leftover], list[str]]
"""Removes what is left of a resource; returns the names of what it removed."""


def wait_gone(what: str, look: Callable[[], object]) -> None:
    """Waits until a deleted resource is gone.

    Raises:
        KitError: it takes too long.
    """
    deadline = time.monotonic() + _WAIT_SECONDS
    while look():
        if time.monotonic() > deadline:
            raise KitError(f"is being deleted for {_WAIT_SECONDS} s", where=what, fix="`pulumi up` again, later")
        time.sleep(_LOOK_SECONDS)
