"""Names from one place: logical ones, which never change, and what they are called where they live."""

from pathlib import Path
from typing import NamedTuple

# The engine's refusal to delete what is protected shows these two names: so they say the way out.
STORE = "store (llmops down keeps it)"
SIGNING_KEY = "signing-key (llmops down keeps it)"
TRAINING = "training"
HOSTING = "hosting"


def image(name: str) -> str:
    """Logical name of an image's resource."""
    return f"image-{name}"


def endpoint(name: str) -> str:
    """Logical name of an endpoint's resource. The prefix keeps users' names apart from ours."""
    return f"endpoint-{name}"


class StackHome(NamedTuple):
    """Where a local stack keeps everything."""

    folder: Path

    @property
    def store(self) -> Path:
        """Dataset and model versions."""
        return self.folder / "store"

    @property
    def signing_key(self) -> Path:
        """The private key, mode 0600; the public one is beside it."""
        return self.folder / "keys" / "signing.key"

    @property
    def public_key(self) -> Path:
        """The public key, PEM."""
        return self.folder / "keys" / "signing.pub"

    def api_key(self, endpoint_name: str) -> Path:
        """The endpoint's API key, mode 0600."""
        return self.folder / "keys" / f"{endpoint_name}.key"

    @property
    def runs(self) -> Path:
        """A folder for each run."""
        return self.folder / "runs"

    @property
    def hosting(self) -> Path:
        """State of the supervisor and router."""
        return self.folder / "hosting"


def stack_home(project: Path, home: str, stack: str) -> StackHome:
    """The home of a stack; `home` may be relative to the project's folder."""
    return StackHome((project / home / stack).resolve())
