"""The registry of a stack's images."""

from typing import Protocol

from llmops_kit.cli.interfaces.docker_push import Login


class ImageRegistry(Protocol):
    """The repositories of a stack, one for each of its images."""

    def url(self, image: str) -> str:
        """Returns HOST/NAME of an image's repository, as named by the stack."""
        ...

    def find(self, image: str, tag: str) -> str:
        """Returns the digest of a tag; empty if the tag does not exist."""
        ...

    def login(self, image: str) -> Login:
        """Returns the address and credentials for pushing an image."""
        ...
