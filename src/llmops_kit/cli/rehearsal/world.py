"""Environment of a rehearsal: a separate project and environment, on a twin or in the caller's account."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmops_kit.cli.interfaces.platform import Say
from llmops_kit.cli.pulumi_engine import warm_host
from llmops_kit.cli.rehearsal.cloud import Cloud
from llmops_kit.cli.rehearsal.recipes import RECIPE, shorten
from llmops_kit.cli.rehearsal.steps import PermissionCheck
from llmops_kit.cli.stacks.project import Project
from llmops_kit.core.documents.recipe import Recipe
from llmops_kit.core.errors import KitError

if TYPE_CHECKING:
    from llmops_kit.cli.rehearsal.cost_meter import Meter

_CLOUDS = ("AWS_", "AZURE_", "ARM_", "GOOGLE_", "PULUMI_", "LLMOPS_", "MLFLOW_")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
_KEPT = ("LLMOPS_CACHE", "PULUMI_HOME", warm_host.VARIABLE)


class World:
    """Base of all worlds: an account whose records can't be read, and in which faults can't be injected.

    `environs` has the environment of commands by who runs them: admin is the account's owner, the others are the roles
    that bootstrap creates. While the world is open, this process is its client too.
    """

    live = False
    up_options: tuple[str, ...] = ()

    def __init__(self, cloud: Cloud, project: Project, folder: Path) -> None:
        self.cloud = cloud
        self.source = project
        self.folder = folder
        self.project = folder / "project"
        self.environs: dict[str, dict[str, str]] = {}
        self.recipe = RECIPE
        """Path in the project; empty: nothing is trained."""
        self.most_steps = 0
        """Optimizer steps that the recipe is shortened to; 0: it is not shortened."""
        self.collected = Path()
        """The folder of the recipe's data, which was collected before it was opened."""
        self.roles: dict[str, str] = {}
        """Label -> name of the role in the twin's records."""
        self.meter: Meter | None = None
        self.temporary: list[Path] = []
        """Folders for temporary files of its programs."""
        self.over: KitError | None = None
        """The limit that ended a step while it ran."""
        self.swept: list[str] = []
        """Lines about resources that were removed by their tags at the end, or could not be."""
        self._before: dict[str, str] = {}

    def open(self, say: Say) -> None:
        """Creates the world, and makes this process its client."""
        raise NotImplementedError

    def close(self, keep: bool = False) -> None:
        """Removes the world, unless `keep` is set."""
        raise NotImplementedError

    def place(self) -> str:
        raise NotImplementedError

    def make_ready(self, say: Say) -> None:
        """Builds all images that run on this machine, and fetches the recipe's base model and data, with this process's
        environment.

        Raises:
            KitError: an image can't be built, or a model or a source can't be fetched.
        """
        from llmops_kit.cli.rehearsal.prerequisites import build_images, fetch_prerequisites

        path = self.source.folder / self.recipe if self.recipe else None
        recipe = Recipe.load(path) if path else None
        build_images(recipe, say)
        if path and recipe:
            self.collected = fetch_prerequisites(recipe, path, say)

    def link_project(self) -> None:
        """Creates the project that commands run in: links to the caller's, with the recipe shortened if that is set."""
        self.source.link_into(self.project)
        if self.most_steps:
            shorten(self.project, self.recipe, self.most_steps)

    def stack(self, name: str) -> str:
        """Returns the full name of the stack dev or prod."""
        return name

    def settings(self) -> dict[str, Any]:
        """Returns the settings in the target's own key beside the region."""
        return {}

    def more_settings(self) -> dict[str, Any]:
        """Returns further settings of the stacks."""
        return {}

    def is_ours(self, _name: str) -> bool:
        """Returns whether something of this name belongs to the rehearsal."""
        return True

    def use_backend(self, url: str, secrets_provider: str) -> None:
        """Keeps the states of stacks at a URL. Without a provider, the environment's passphrase protects their
        secrets.
        """
        for environ in (*self.environs.values(), os.environ):
            environ["PULUMI_BACKEND_URL"] = url
            if secrets_provider:
                environ.pop("PULUMI_CONFIG_PASSPHRASE", None)

    def take(self, label: str, identity: str) -> None:
        """Makes commands of `label` run under a role."""
        raise _not_on_account(label, identity)

    def know(self, _roles: Mapping[str, str]) -> None:
        """Stores roles by their label."""

    def deny(self, label: str, action: str) -> None:
        """Denies an action to a role, whatever its policies allow."""
        raise _not_on_account(label, action)

    def give_back(self, label: str, action: str) -> None:
        raise _not_on_account(label, action)

    def forget_accesses(self) -> None:
        """Clears the record of used permissions."""

    def accesses(self) -> list[PermissionCheck]:
        """Returns the permissions that roles used since `forget_accesses`, each once."""
        return []

    def policies(self) -> dict[str, list[dict[str, Any]]]:
        """Returns label -> the policies of a role, as they are now."""
        return {}

    def fault(self, kind: str, members: Mapping[str, Any]) -> None:
        """Injects a fault from now on."""
        raise _not_on_account(kind, str(dict(members)))

    def fault_met(self, _kind: str) -> bool:
        return False

    def clear_faults(self) -> None:
        """Removes all faults."""

    def unjudged(self) -> list[str]:
        """Returns the twin's own list of permissions and limits that it does not check."""
        return []

    def log(self) -> str:
        """Returns its own output."""
        return ""

    def check_limits(self) -> None:
        """Checks, before each step, that the rehearsal may continue.

        Raises:
            KitError: a limit is reached; names it.
        """


def _not_on_account(*words: str) -> KitError:
    return KitError("this can't be done on an account", where=" ".join(words), fix="it works on a twin only")


def scrubbed(environ: Mapping[str, str]) -> dict[str, str]:
    """Returns an environment without anything that leads to a cloud, a login or a proxy."""
    return {
        name: value
        for name, value in environ.items()
        if name in _KEPT or not name.upper().startswith(_CLOUDS + _PROXIES)
    }


def become(environ: Mapping[str, str]) -> None:
    """Replaces this process's environment."""
    os.environ.clear()
    os.environ.update(environ)
