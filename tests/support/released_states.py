"""States of stacks as each release of the kit left them, which this checkout must find to be up to date.

`python -m tests.support.released_states` deploys a stack of each target with an endpoint, and writes what a later test
needs of it to tests/data/states/RELEASE/: run it when a release is made, and never again for that release.
"""

import contextlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from llmops_kit.cli import __version__
from llmops_kit.cli.store.objects import FolderObjects
from llmops_kit.core.layout import MANIFEST, alias_key, model_key
from llmops_kit.core.names import parse_promoted
from llmops_kit.local_runtime import process_images
from tests.support.checkout import CHECKOUT
from tests.support.clouds import aws, azure_twin
from tests.support.clouds.aws import AwsStack, running_account
from tests.support.clouds.azure_twin import AzureStack, running_twin
from tests.support.stacks import Stack

AnyStack = TypeVar("AnyStack", bound=Stack)
STATES = CHECKOUT / "tests/data/states"
NAME = "released"
"""Of the stacks. Resources are named after it."""


@dataclass(frozen=True)
class ReleasedState:
    """The state of a stack with the endpoint `chat`, and what it was deployed from."""

    entries: dict[str, dict[str, Any]]
    objects: dict[str, str]
    """What the program reads of the stack's store: key -> content."""
    deployment: dict[str, Any]


def releases() -> list[str]:
    """Returns the versions of the kit whose states are here."""
    return sorted(path.name for path in STATES.iterdir())


def read(release: str, target: str, places: Mapping[str, str]) -> ReleasedState:
    """Returns the state that a release left of a target's stack, with the values of `places` in it."""
    text = (STATES / release / f"{target}.json").read_text()
    for place, found in places.items():
        text = text.replace(place, found)
    return ReleasedState(**json.loads(text))


def restore(stack: Stack, released: ReleasedState) -> None:
    """Gives a stack the state that a release left."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump({"version": 3, "deployment": released.deployment}, file)
        file.flush()
        stack.pulumi("stack", "import", "--file", file.name)


def places_on_aws(stack: AwsStack) -> dict[str, str]:
    """Returns the address of the twin of a deployed stack, its keys, and the digests of contents that have keys."""
    outputs = stack.outputs()
    resources = json.loads(stack.state())["deployment"]["resources"]
    named = {each["urn"].rpartition("::")[2]: each for each in resources}
    digests = {key: named["preparation-chat"]["inputs"][key] for key in ("content", "model")}
    ids = {name: named[name]["id"] for name in ("model-chat", "configuration-chat")}
    return {f"{{{name}}}": found for name, found in (digests | ids).items()} | {
        "{twin}": urlsplit(stack.twin.environ["AWS_ENDPOINT_URL"]).netloc,
        "{signing key}": outputs["signing"]["private_key"].rpartition("/")[2],
        "{data key}": outputs["aws"]["kms_key"].rpartition("/")[2],
        "{public key}": json.dumps(outputs["signing"]["public_key"])[1:-1],
    }


def places_on_azure(stack: AzureStack) -> dict[str, str]:
    """Returns the addresses of Resource Manager and of the blobs of a deployed stack."""
    blobs = stack.outputs()["azure"]["blob_url"]
    return {"{manager}": urlsplit(stack.twin.info.url).netloc, "{blobs}": urlsplit(blobs).netloc}


def _record(
    stack: AnyStack,
    version: str,
    target: str,
    content: Callable[[str], bytes],
    places: Callable[[AnyStack], Mapping[str, str]],
) -> None:
    """Deploys a version as the endpoint `chat`, and keeps the stack's state as that of this release."""
    stack.serve("chat", version)
    stack.up()
    ref = parse_promoted(version)
    keys = (alias_key(ref.name, ref.number), f"{model_key(ref.sha256)}/{MANIFEST}")
    objects = {key: content(key).decode() for key in keys}
    deployment = json.loads(stack.state())["deployment"]
    for resource in deployment["resources"]:  # where the program made it: paths of this machine
        resource.pop("stackTrace", None)
        resource.pop("sourcePosition", None)
    text = json.dumps({"entries": stack.entries, "objects": objects, "deployment": deployment}, indent=1)
    for place, found in places(stack).items():
        text = text.replace(found, place)
    path = STATES / __version__ / f"{target}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")


def places_here(stack: Stack) -> dict[str, str]:
    """Returns a local stack's folder, and the digests of its images."""
    digests = {f"{{{name}}}": process_images.build(name).rpartition(":")[2] for name in ("serving", "training")}
    return {"{folder}": str(stack.folder), **digests}


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="llmops-released-") as folder:
        yield Path(folder).resolve()


def main() -> None:
    """Records the states of this release."""
    from tests.emulated.infra.conftest import stacks_in

    with _folder() as folder, stacks_in(folder) as make:
        stack = make(NAME)
        _record(stack, stack.add_version("tiny@1"), "local", FolderObjects(stack.home / "store").get, places_here)
    with _folder() as folder, running_account(folder, pace=0.05) as account, account.entered():
        made = aws.make_stack(account, folder / "stack", NAME)
        _record(made, made.add_version("tiny@1"), "aws", made.platform().store().objects.get, places_on_aws)
    with _folder() as folder, running_twin(folder, pace=0.05) as subscription, subscription.entered():
        made = azure_twin.make_stack(subscription, folder / "stack", NAME)
        _record(made, made.add_version("tiny@1"), "azure", made.platform().store().objects.get, places_on_azure)


if __name__ == "__main__":
    main()
