"""Where a stack's images are pushed to."""

from typing import Protocol

from llmops.images.docker_push import Login


class ImageRegistry(Protocol):
    """The repositories of a stack: one for each of its images."""

    def url(self, image: str) -> str:
        """HOST/NAME of an image's repository, as a stack names it."""
        ...

    def find(self, image: str, tag: str) -> str:
        """Returns the digest of what has a tag; empty: nothing has it."""
        ...

    def login(self, image: str) -> Login:
        """Where it is pushed to, and who is let in there."""
        ...
