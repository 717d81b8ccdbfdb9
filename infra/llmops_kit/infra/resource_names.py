"""Names of resources: logical ones, which never change, and physical ones."""

from pathlib import Path
from typing import NamedTuple

from llmops_kit.clouds.account_names import digest, named_after, readable


def kept(name: str) -> str:
    """Return the logical name of a resource that outlives its stack; the engine shows it when it refuses to delete."""
    return f"{name} (llmops down keeps it)"


TRAINING = "training"
HOSTING = "hosting"


def image(name: str) -> str:
    """Returns the logical name of an image's resource."""
    return f"image-{name}"


def endpoint(name: str) -> str:
    """Returns the logical name of an endpoint's resource; the prefix keeps users' names apart from the kit's."""
    return f"endpoint-{name}"


class CloudNames(NamedTuple):
    """Physical names of a stack's resources. Each ends in a hash of project, stack and resource.

    So no two stacks share a name (nor do `dev-a` with `b`, and `dev` with `a-b`), and truncated names stay unique.
    """

    project: str
    stack: str
    prefix: str = ""
    """Prefix of all names below a component of a user's program, which may have several; empty in the kit's own."""

    def logical(self, name: str) -> str:
        """Returns a resource's name in the program."""
        return self.prefix + name

    def kept(self, name: str) -> str:
        """Returns the name in the program of a resource that outlives its stack; see `kept`."""
        return kept(self.logical(name))

    def of(self, thing: str, limit: int = 63, *others: str) -> str:
        """See llmops_kit.clouds.account_names.named_after."""
        return named_after(self.project, self.stack, self.prefix + thing, limit, *others)

    def bucket(self, thing: str, account: str, region: str) -> str:
        """Returns a bucket's name, which must be unique among all accounts."""
        return (
            f"{self._readable(thing, 50)}-{digest(self.project, self.stack, self.prefix + thing, account, region)[:12]}"
        )

    def compact(self, thing: str, limit: int, *others: str) -> str:
        """Returns a name like `llmopsdevregistry3f9a0c1e2b4d`: lower case letters and digits, a letter first.

        Args:
            thing: the resource, unique in the stack.
            limit: the service's; 24 suits Azure's storage accounts and vaults, 50 its registries.
            others: hashed too; the subscription for globally unique names.
        """
        readable = self._readable(thing, 90).replace("-", "")
        return readable[: limit - 12] + digest(self.project, self.stack, self.prefix + thing, *others)[:12]

    def of_content(self, thing: str, content: str, number: int) -> str:
        """Returns a name for one content of a resource; `number` makes it new if an earlier content returns."""
        end = f"-{digest(content)[:8]}-{number}"
        return self.of(thing, 63 - len(end)) + end

    def _readable(self, thing: str, length: int) -> str:
        return readable(self.project, self.stack, self.prefix + thing)[:length].rstrip("-")


class StackHome(NamedTuple):
    """Folders of a local stack."""

    folder: Path
    endpoint: str = ""
    """The endpoint that has its own supervisor; empty: the stack's endpoints share one."""

    @property
    def store(self) -> Path:
        """Dataset and model versions."""
        return self.folder / "store"

    def signing_key(self, number: int) -> Path:
        """Returns the path of one of the private keys, a file of mode 0600."""
        return self.folder / "keys" / signing_key_name(number)

    @property
    def public_key(self) -> Path:
        """Path of the keys that verify the stack's signatures, in PEM."""
        return self.folder / "keys" / "signing.pub"

    def api_key(self, endpoint_name: str) -> Path:
        """Returns the path of the endpoint's API key, a file of mode 0600."""
        return self.folder / "keys" / f"{endpoint_name}.key"

    @property
    def runs(self) -> Path:
        """Parent of the runs' folders."""
        return self.folder / "runs"

    @property
    def hosting(self) -> Path:
        """State of the supervisor and router."""
        return self.folder / "hosting" / self.endpoint

    def of_endpoint(self, name: str) -> "StackHome":
        """Returns the home of an endpoint with its own supervisor; its store and keys are the stack's."""
        return StackHome(self.folder, name)


def signing_key_name(number: int) -> str:
    """Returns the file name of a private key of a stack on this machine."""
    return "signing.key" if number == 1 else f"signing-{number}.key"


def stack_home(project: Path, home: str, stack: str) -> StackHome:
    """Returns the folders of a stack; `home` may be relative to the project's folder."""
    return StackHome((project / home / stack).resolve())
