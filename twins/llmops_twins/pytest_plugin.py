"""The pytest plugin: fixtures `aws_twin` and `azure_twin`, an emulated account for each test.

A twin's process is started once per session. Before each test its state is reset to a snapshot, taken after the session
fixture `aws_twin_baseline` or `azure_twin_baseline`, which a project may override to create resources that its tests
share. During a test, the environment points every client of the cloud to the twin.
"""

import importlib
import json
import shlex
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from llmops_twins.core.control import Control

_MARKER = (
    'twin(faults=(), permissions="all", pace=0.05, containers="run"): settings of this test\'s twin. '
    'faults: as in "throttle operation=Create* times=2" (`twins aws faults --kinds` lists all). '
    'permissions: "all" of the account\'s owner; "off": not checked; or a list: actions or IAM statements on AWS, '
    "built-in roles on Azure."
)


@dataclass
class EmulatedAccount:
    """A twin in a test. Environment variables are set while the test runs, for programs that it starts too."""

    word: str
    home: Path
    control: "Control[Any]"

    def fault(self, text: str) -> None:
        """Injects a fault, such as "throttle operation=Create* times=2"."""
        kind, *members = shlex.split(text)
        self.control.add_fault(self.home, kind, dict(member.split("=", 1) for member in members))

    def ask(self, method: str, route: str, document: Any = None) -> Any:
        """Calls one of the twin's own routes, below /_twin/."""
        return self.control.ask(self.home, self.control.required(self.home).url, route, method, document)

    def permissions_used(self) -> list[dict[str, Any]]:
        """Returns each permission that calls needed: `principal`, `action`, `resource`, `allowed`."""
        return self.ask("GET", "recorded")["recorded"]

    def process_image(self, package: Path, requirements: Path | None = None) -> str:
        """Builds an image that runs as a process, without Docker, and returns its name for jobs and endpoints.

        Args:
            package: folder of a Python package, which is run by `python -m NAME train` or `serve`.
            requirements: the package's requirements, pinned with hashes (as written by `uv pip compile
                --generate-hashes`).
        """
        from llmops_kit.local_runtime.process_images import ImageSource, build

        if requirements is None:
            requirements = self.home / "no-requirements.txt"
            requirements.touch()
        return build(ImageSource(package.name, requirements, {package.name: package}))

    def begin(self, patch: pytest.MonkeyPatch, *, permissions: Any, settings: Mapping[str, Any]) -> None:
        """Sets up settings, environment and permissions of a test."""
        judge = "off" if permissions == "off" else "strict"
        self.ask("PUT", "settings", {"judge": judge, **settings})
        self.ask("DELETE", "recorded")
        _set(patch, self.control.environment(self.home))
        if permissions not in ("all", "off"):
            _set(patch, _PRINCIPALS[self.word](self, permissions))


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("twins", "local emulators of AWS and Azure (llmops-twins)")
    text = 'inject a fault into the twin of every test, such as "throttle operation=Create* times=2"; may be repeated'
    group.addoption("--twin-faults", action="append", default=[], metavar="FAULT", help=text)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", _MARKER)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """Adds the denied calls of a failed test to its report."""
    report: Any = yield
    for twin in getattr(item, "funcargs", {}).values():
        if report.failed and isinstance(twin, EmulatedAccount):
            denied = [f"{p['principal']} may not {p['action']} on {p['resource']}" for p in _denied(twin)]
            report.sections.append((f"denied by the twin ({twin.word})", "\n".join(denied) or "nothing"))
    return report


@pytest.fixture(scope="session")
def aws_twin_baseline() -> None:
    """Creates nothing; override this fixture to create AWS resources that every test finds, but no running
    endpoints.
    """


@pytest.fixture(scope="session")
def azure_twin_baseline() -> None:
    """Creates nothing; override this fixture to create Azure resources that every test finds, but no blobs and no
    running endpoints.
    """


def _session_fixture(word: str) -> Any:
    @pytest.fixture(scope="session", name=f"_{word}_twin_session")
    def session(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatedAccount]:
        from llmops_twins.cli import CLOUDS

        next(cloud for cloud in CLOUDS if cloud.word == word).require_packages()
        control = importlib.import_module(f"llmops_twins.{word}.control").CONTROL
        twin = EmulatedAccount(word, tmp_path_factory.mktemp(f"{word}-twin"), control)
        try:
            control.up(twin.home, pace=0.05)
            with pytest.MonkeyPatch.context() as patch:
                twin.begin(patch, permissions="all", settings={})
                request.getfixturevalue(f"{word}_twin_baseline")
                control.snapshot(twin.home)
            yield twin
        finally:
            control.down(twin.home)

    return session


def _fixture(word: str) -> Any:
    @pytest.fixture(name=f"{word}_twin")
    def twin(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> EmulatedAccount:
        found: EmulatedAccount = request.getfixturevalue(f"_{word}_twin_session")
        given: dict[str, Any] = {"permissions": "all", "pace": 0.05, "containers": "run"}
        faults: list[str] = list(request.config.getoption("--twin-faults") or ())
        for mark in reversed([*request.node.iter_markers("twin")]):  # the closest one wins
            given |= mark.kwargs
            faults += given.pop("faults", [])
        found.control.restore(found.home)
        found.begin(monkeypatch, permissions=given.pop("permissions"), settings=given)
        for text in faults:
            found.fault(text)
        return found

    return twin


_aws_session, _azure_session = _session_fixture("aws"), _session_fixture("azure")
aws_twin, azure_twin = _fixture("aws"), _fixture("azure")


def _set(patch: pytest.MonkeyPatch, environ: Mapping[str, str | None]) -> None:
    for name, value in environ.items():
        if value is None:
            patch.delenv(name, raising=False)
        else:
            patch.setenv(name, value)
    if "AWS_ACCESS_KEY_ID" in environ:
        patch.setattr("boto3.DEFAULT_SESSION", None)  # it keeps the credentials of its first client


def _user(_twin: EmulatedAccount, permissions: list[Any]) -> dict[str, str | None]:
    """Creates an IAM user with these actions or statements, and returns its credentials as environment variables."""
    import boto3

    actions = [each for each in permissions if isinstance(each, str)]
    statements = [{"Effect": "Allow", "Action": actions, "Resource": "*"}] if actions else []
    statements += [each for each in permissions if not isinstance(each, str)]
    iam = boto3.Session().client("iam")
    iam.create_user(UserName="under-test")
    if statements:
        document = json.dumps({"Version": "2012-10-17", "Statement": statements})
        iam.put_user_policy(UserName="under-test", PolicyName="test", PolicyDocument=document)
    key = iam.create_access_key(UserName="under-test")["AccessKey"]
    return {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}


def _application(twin: EmulatedAccount, roles: list[str]) -> dict[str, str | None]:
    """Creates an application with these built-in roles on the subscription, and returns its environment variables, as
    of a managed identity.
    """
    made = twin.ask("POST", "applications", {"name": "under-test", "roles": roles})
    found = twin.ask("POST", "headers", {"object_id": made["object_id"]})
    return {
        **{name: found[name] for name in ("IDENTITY_ENDPOINT", "IDENTITY_HEADER")},
        "AZURE_CLIENT_ID": made["client_id"],
        "ARM_CLIENT_ID": made["client_id"],
        "ARM_CLIENT_SECRET": made["client_secret"],
    }


_PRINCIPALS: dict[str, Callable[[EmulatedAccount, list[Any]], dict[str, str | None]]] = {
    "aws": _user,
    "azure": _application,
}


def _denied(twin: EmulatedAccount) -> list[dict[str, Any]]:
    return [each for each in twin.permissions_used() if not each["allowed"]]
