"""A twin of its own for a rehearsal: permissions judged, faults on request, and a closed door to everywhere else."""

import base64
import json
import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from contract.errors import KitError
from contract.twin import ENDPOINT_VARIABLE, TWIN_ACCOUNT
from llmops.platforms.base import Say
from llmops.project import Project
from llmops.rehearsal.guard import Guard
from llmops.rehearsal.steps import Access
from llmops.rehearsal.world import World, become, bring_base, copy_project, require_loopback, scrubbed

PACE = 1.0
"""Seconds that a status change takes: five minutes of AWS in one second."""
REGION = "us-east-1"  # of which the kit knows prices
_TAKEN_AWAY = "taken-away"


class TwinWorld(World):
    """A twin of an AWS account in the folder, with its state. Nothing can leave this machine."""

    def __init__(self, project: Project, folder: Path, without: Iterable[tuple[str, str]] = ()) -> None:
        super().__init__(project, folder)
        self.home = folder / "twin"
        self._without = list(without)
        self._guard = Guard()

    def open(self, say: Say) -> None:
        """Make all of it. What may have to be fetched is fetched now, with the caller's own environment.

        Raises:
            KitError: the engine, an image or the judge can't be made, or the twin does not start.
        """
        from hosting import images
        from llmops.engine import ensure
        from twins.aws import control

        engine = ensure()
        for name in ("training", "serving"):
            images.build(name, say)
        bring_base(self.source, say)
        copy_project(self.source, self.project)
        say("starting the twin")
        control.up(self.home, judge="strict", pace=PACE, region=REGION)
        self._guard.__enter__()
        own = engine.env | self._guard.environ | {"PULUMI_SKIP_UPDATE_CHECK": "1", "VIRTUAL_ENV": sys.prefix}
        self.environs["admin"] = scrubbed(os.environ) | own | _values(control.environment(self.home))
        require_loopback(self.environs["admin"])
        self._before = dict(os.environ)
        become(self.environs["admin"])

    def close(self, keep: bool = False) -> None:
        """End the twin and remove everything; with `keep` the twin goes on, and the folder stays."""
        from twins.aws import control

        if self.meter:
            self.meter.stop()
        if self._before:
            become(self._before)
            self._guard.__exit__(None, None, None)
        if not keep:
            control.down(self.home)
            shutil.rmtree(self.folder, ignore_errors=True)
            with suppress(OSError):
                self.folder.parent.rmdir()  # unless another rehearsal is there

    def log(self) -> str:
        """What the twin's process said."""
        try:
            return (self.home / "twin.log").read_text(errors="replace")
        except OSError:
            return ""

    def take(self, label: str, arn: str) -> None:
        """Take a role that trusts GitHub's workflows, as one of them does; the twin does not look at signatures."""
        from llmops.platforms.aws.clients import Clients

        answer = Clients()("sts").assume_role_with_web_identity(
            RoleArn=arn, RoleSessionName="rehearsal", WebIdentityToken=_token("repo:acme/assistant:ref:refs/heads/main")
        )["Credentials"]
        self.environs[label] = self.environs["admin"] | {
            "AWS_ACCESS_KEY_ID": answer["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": answer["SecretAccessKey"],
            "AWS_SESSION_TOKEN": answer["SessionToken"],
        }
        self.know({label: arn})

    def know(self, roles: Mapping[str, str]) -> None:
        """Remember roles by their label, and take from them what `--without` says."""
        self.roles |= {label: arn.rpartition("/")[2] for label, arn in roles.items()}
        for label, action in self._without:
            if label in roles:
                self.deny(label, action)

    def deny(self, label: str, action: str) -> None:
        """Take an action away from a role, whatever its policies say."""
        document = {"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": action, "Resource": "*"}]}
        name = f"{_TAKEN_AWAY}-{action.replace(':', '-').replace('*', 'all')}"
        self._iam().put_role_policy(RoleName=self.roles[label], PolicyName=name, PolicyDocument=json.dumps(document))

    def give_back(self, label: str, action: str) -> None:
        """The reverse of `deny`."""
        name = f"{_TAKEN_AWAY}-{action.replace(':', '-').replace('*', 'all')}"
        self._iam().delete_role_policy(RoleName=self.roles[label], PolicyName=name)

    def forget_accesses(self) -> None:
        """Begin to record anew."""
        self._ask("recorded", "DELETE")

    def accesses(self) -> list[Access]:
        """What roles were asked for since `forget_accesses`, each once."""
        names = {name: label for label, name in self.roles.items()}
        found = []
        for record in self._ask("recorded")["recorded"]:
            role = _role_name(record["principal"])
            if role in names:
                found.append(Access(names[role], record["action"], record["resource"], record["allowed"]))
        return found

    def policies(self) -> dict[str, list[dict[str, Any]]]:
        """Label -> the inline policies of a role that is still there; the kit's roles have no others."""
        iam, found = self._iam(), {}
        for label, name in self.roles.items():
            with suppress(iam.exceptions.NoSuchEntityException):
                names = iam.list_role_policies(RoleName=name)["PolicyNames"]
                found[label] = [iam.get_role_policy(RoleName=name, PolicyName=n)["PolicyDocument"] for n in names]
        return found

    def fault(self, kind: str, members: Mapping[str, Any]) -> None:
        """Let something go wrong from now on."""
        self._ask("faults", "PUT", {"kind": kind, **members})

    def fault_met(self, kind: str) -> bool:
        """Has a fault happened? One that was the last of its times is no longer listed."""
        left = self._ask("faults").get(kind) or []
        return not left or any(fault["met"] for fault in left)

    def clear_faults(self) -> None:
        """Let nothing more go wrong."""
        self._ask("faults", "DELETE")

    def unjudged(self) -> list[str]:
        """What the twin says that it does not judge."""
        return self._ask("status")["not_judged"]

    def place(self) -> str:
        """Where it is, in words."""
        return f"a twin of AWS on this machine (account {TWIN_ACCOUNT}, {REGION})"

    def check_limits(self) -> None:
        """Nothing here costs anything; nothing may leave this machine."""
        self._guard.require_quiet("before this step")

    def _iam(self) -> Any:
        from llmops.platforms.aws.clients import Clients

        return Clients()("iam")

    def _ask(self, route: str, method: str = "GET", document: Any = None) -> Any:
        data = None if document is None else json.dumps(document).encode()
        url = f"{self.environs['admin'][ENDPOINT_VARIABLE]}/_twin/{route}"
        try:
            with urlopen(Request(url, data, method=method), timeout=60) as answer:
                return json.load(answer)
        except HTTPError as e:
            raise KitError(f"the twin refuses: {e.read().decode(errors='replace')}", where=url) from e
        except OSError as e:
            raise KitError(f"the twin does not answer: {e}", where=url, fix=f"see {self.home}/twin.log") from e


def _values(changes: Mapping[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in changes.items() if value is not None}


def _role_name(principal: str) -> str:
    """arn:…:role/path/NAME, arn:…:assumed-role/NAME/session."""
    kind, _, rest = principal.rpartition(":")[2].partition("/")
    return rest.partition("/")[0] if kind == "assumed-role" else rest.rpartition("/")[2]


def _token(subject: str) -> str:
    """As GitHub gives one to a workflow."""
    claims = {"iss": "https://token.actions.githubusercontent.com", "aud": "sts.amazonaws.com", "sub": subject}
    parts = [base64.urlsafe_b64encode(json.dumps(p).encode()).decode().rstrip("=") for p in ({"alg": "RS256"}, claims)]
    return ".".join([*parts, "c2lnbmF0dXJl"])
