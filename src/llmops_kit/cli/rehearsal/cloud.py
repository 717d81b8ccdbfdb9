"""Interface of a cloud for a rehearsal: caller, inventory, running machines, and control of its twin."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from llmops_kit.cli.interfaces.platform import Say
from llmops_kit.cli.platforms.twin_command import TwinCommand
from llmops_kit.cli.rehearsal.fault_case import FaultCase
from llmops_kit.cli.rehearsal.leaks import Accepted
from llmops_kit.core.errors import KitError
from llmops_kit.core.twins import key_headers

if TYPE_CHECKING:
    from llmops_kit.cli.rehearsal.questions import Question
    from llmops_kit.core.documents.outputs import StackOutputs

REPOSITORY = "acme/assistant"
"""GitHub repository whose workflows bootstrap's roles trust."""
THEIRS = "acme-payroll"
"""Prefix of other owners' resources in the account."""


@dataclass(frozen=True)
class CloudCaller:
    """Identity of this process in the cloud. `account`: its id after the cloud's term for it; `twin`: its address."""

    name: str
    account: str
    region: str
    twin: str = ""


@dataclass(frozen=True)
class Standing:
    """Billed machines. `purpose` (hosting or training) and `instance_type` are those of the price table; machines
    without an hourly price have a description as their type.
    """

    name: str
    purpose: str
    instance_type: str
    count: int


@dataclass(frozen=True)
class QualityLog:
    """A server's check of its golden prompts: time (seconds since 1970), share of right answers, model."""

    at: float
    score: float
    model: str


@dataclass(frozen=True)
class ByHand:
    """An alarm whose threshold is changed by hand."""

    name: str
    before: float
    set: Callable[[float], None]
    read: Callable[[], float]


class Twin(ABC):
    """Control of a cloud's twin in a rehearsal. Its state is in `home`."""

    target: ClassVar[str]
    place: ClassVar[dict[str, str]]
    """Its region, as options of its `up`."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._command = TwinCommand(self.target, home)

    def up(self, say: Say, pace: float) -> None:
        """Starts the twin, which checks permissions. Raises KitError if it does not start."""
        self._command.up(say, pace=pace, **self.place)

    def down(self) -> None:
        """Stops its processes."""
        self._command.down()

    def environment(self) -> dict[str, str]:
        """Returns the environment of programs that act as the twin's owner."""
        return {name: value for name, value in self._command.environment.items() if value is not None}

    @abstractmethod
    def take(self, identity: str) -> Mapping[str, str | None]:
        """Returns the changes of the owner's environment by which a program acts as one of bootstrap's roles, as a
        workflow on GitHub gets them.
        """

    @abstractmethod
    def name_of(self, identity: str) -> str:
        """Returns the name by which records identify a role."""

    @abstractmethod
    def deny(self, name: str, action: str) -> None:
        """Denies an action to a role, whatever its policies allow."""

    @abstractmethod
    def give_back(self, name: str, action: str) -> None:
        """Reverts a `deny`."""

    @abstractmethod
    def policies(self, name: str) -> list[dict[str, Any]] | None:
        """Returns a role's permissions in the cloud's own documents; None if there is no such role."""

    @abstractmethod
    def bearer(self, principal: str) -> str:
        """Returns the name of the role of a recorded principal; empty if it is not a role."""

    @abstractmethod
    def url(self) -> str:
        """Returns the base URL of its administrative routes (/_twin/…)."""

    def web_identity(self, identity: str, audience: str) -> str:
        """Returns a token like GitHub's for a job that assumes one of bootstrap's roles; the twin issues it."""
        from llmops_kit.cli.platforms.bootstrap_steps import PROMOTE_ENVIRONMENT

        place = f"environment:{PROMOTE_ENVIRONMENT}" if "-promote-" in identity else "ref:refs/heads/main"
        claims = {
            "iss": "https://token.actions.githubusercontent.com",
            "aud": audience,
            "sub": f"repo:{REPOSITORY}:{place}",
            "exp": 4102444800,  # longer than any rehearsal, since it is never renewed
        }
        return self.ask("web-identities", "POST", claims)["token"]

    def ask(self, route: str, method: str = "GET", document: Any = None) -> Any:
        """Returns the response of an administrative route of the twin.

        Raises:
            KitError: it returns an error, or does not respond.
        """
        data = None if document is None else json.dumps(document).encode()
        url = f"{self.url()}/_twin/{route}"
        try:
            with urlopen(Request(url, data, key_headers(self._command.key), method=method), timeout=60) as answer:
                return json.load(answer)
        except HTTPError as e:
            raise KitError(f"the twin returned an error: {e.read().decode(errors='replace')}", where=url) from e
        except OSError as e:
            raise KitError(f"the twin does not respond: {e}", where=url, fix=f"see {self.home}/twin.log") from e


class Cloud(ABC):
    """A cloud in rehearsals and smoke tests. Methods act as the caller in this process's environment, on a twin or an
    account.
    """

    target: ClassVar[str]
    title: ClassVar[str]
    contract: ClassVar[str]
    """The cloud's name of a request to an endpoint."""
    extra: ClassVar[tuple[str, ...]]
    """The extra that a rehearsal needs, and packages that it brings."""
    roles: ClassVar[tuple[str, ...]]
    """Labels of roles: those that bootstrap creates, and those of a stack."""
    bearers: ClassVar[Mapping[str, str]] = {}
    """Verb of llmops -> label of the role of bootstrap that it runs under, where that is not deploy."""
    withheld: ClassVar[str]
    """An action of deploy that the first `up` lacks."""
    region: ClassVar[str]
    """Region of the twin's clients; the kit knows its prices."""
    instance_type: ClassVar[str]
    """Instance type of jobs and endpoints whose stack names none."""
    files: ClassVar[bool]
    """Whether requests and answers can be files (`mode: async`)."""
    rolls_back_silently: ClassVar[bool]
    """Whether the cloud may undo an update without an error, so that the state shows it as done."""
    faults: ClassVar[tuple[FaultCase, ...]]
    data_kinds: ClassVar[frozenset[str]]
    """Kinds of resources that `llmops down` keeps."""
    running_kinds: ClassVar[frozenset[str]]
    """Kinds of resources that it removes."""
    holds_secrets: ClassVar[tuple[Accepted, ...]]
    """Places in a rehearsal's folder and processes that must hold secrets, with reasons."""
    secret_files: ClassVar[tuple[str, ...]] = ("twin/root.secret", "twin/registry/secret")
    """Files below the rehearsal's folder that are secrets of the twin, whole."""
    rolled_back_by: ClassVar[str]
    """Text in the message of a rollback by quality."""
    only = ""
    """On an account, `held` describes resources with this in their name in full; others may only be listed by name."""

    @abstractmethod
    def twin(self, home: Path) -> Twin:
        """Returns the twin whose state is in a folder."""

    @abstractmethod
    def require_loopback(self, environ: Mapping[str, str]) -> None:
        """Raises KitError unless an environment's clients can reach this machine alone."""

    @abstractmethod
    def caller(self) -> CloudCaller:
        """Returns the identity of this process. Raises KitError if it has none."""

    @abstractmethod
    def held(self) -> dict[str, Any]:
        """Returns `kind name` -> description of everything in the account of the kinds that the kit uses, without the
        files of Pulumi's states, which change all the time.
        """

    @abstractmethod
    def is_of(self, thing: str, stack: str) -> bool:
        """Returns whether one of `held` belongs to a stack."""

    @abstractmethod
    def is_the_clouds(self, thing: str) -> bool:
        """Returns whether the cloud itself created a resource of `held`, which stays."""

    def waiting(self, _stack: str) -> list[str]:
        """Returns the names of a removed stack's resources that the cloud keeps for some days."""
        return []

    def bring_back(self, _stack: str) -> list[str]:
        """Recovers what `waiting` lists, if it blocks a name that the same stack needs again; returns what was
        recovered.
        """
        return []

    @abstractmethod
    def make_theirs(self) -> None:
        """Creates resources of another team; all have THEIRS in their name."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Returns the target's own key of a stack's file."""

    def words_for(self, *_stacks: str) -> tuple[str, ...]:
        """Returns options of `llmops bootstrap` that name the stacks, if it creates something for each."""
        return ()

    def place_words(self) -> tuple[str, ...]:
        """Returns options of `llmops bootstrap` for the place of new resources, if the environment does not give it."""
        return ()

    @abstractmethod
    def questions(self) -> "tuple[Question, ...]":
        """Returns the questions that only a real account answers."""

    @abstractmethod
    def remove_bootstrapped(self, project: str) -> None:
        """Removes the resources that `llmops bootstrap` created for a project, with its states. Raises KitError if it
        fails.
        """

    @abstractmethod
    def bound(self, settings: dict[str, Any], boundary: str) -> None:
        """Sets the permissions boundary that bootstrap created in a stack's settings, if the cloud has boundaries."""

    @abstractmethod
    def roles_of(self, outputs: "StackOutputs") -> dict[str, str]:
        """Returns label -> identity of a stack's roles."""

    @abstractmethod
    def interruptions(self, outputs: "StackOutputs", run: str) -> int:
        """Returns how often a run's machine was reclaimed."""

    @abstractmethod
    def quality(self, outputs: "StackOutputs", endpoint: str) -> Iterator[QualityLog]:
        """Yields the servers' log entries about an endpoint's golden prompts."""

    @abstractmethod
    def quality_alarm(self, outputs: "StackOutputs", endpoint: str) -> ByHand:
        """Returns the alarm that watches an endpoint's quality."""

    @abstractmethod
    def asker(self, outputs: "StackOutputs", endpoint: str) -> Callable[[bytes], bytes]:
        """Returns a function that sends a chat request as the cloud's clients do, and raises any error. Thread-safe."""

    @abstractmethod
    def change_machines(self, entry: dict[str, Any]) -> None:
        """Changes an endpoint's settings so that its instances are replaced."""

    def next_link(self) -> str:
        """Returns the link to a list's second page as the cloud writes it; empty if it writes none."""
        return ""

    @abstractmethod
    def hasten(self, entry: dict[str, Any]) -> None:
        """Shortens the wait of a rollout on a twin, whose time runs faster."""

    @abstractmethod
    def standing(self) -> Iterator[Standing]:
        """Yields the machines of endpoints and jobs."""

    def require_prices(self, say: Say, region: str) -> None:
        """Checks that the machines of a rehearsal have a price, so that a limit can be kept; else fetches the prices.

        Raises:
            KitError: they can't be fetched.
        """
        from llmops_kit.cli.machines.prices import load_prices, refresh

        prices = load_prices(region)
        if any(prices.instance(kind, self.instance_type) is None for kind in ("hosting", "training")):
            say(f"fetching {self.title}'s price list of {region} (some megabytes)")
            refresh(region)

    def fault(self, name: str) -> FaultCase:
        """Returns the fault case with a name.

        Raises:
            KitError: there is none.
        """
        from llmops_kit.cli.rehearsal.fault_case import find

        return find(self.faults, name)
