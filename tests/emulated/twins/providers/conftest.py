"""Programs of a few resources under the real engine, with the stand-in plugin, against a twin."""

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest

from contract.twin import TWIN_ACCOUNT
from llmops.engine import ensure
from twins.aws.principals import ROOT_ACCESS_KEY, ROOT_SECRET_KEY
from twins.providers.aws.provider import AwsProvider
from twins.providers.server import serving

REGION = "eu-central-1"
PROJECT = "name: parts\nruntime: {{name: python, options: {{toolchain: pip, virtualenv: {prefix}}}}}\n"
PROGRAM = """\
import json
import pulumi
import pulumi_aws as aws

{provider}
own = pulumi.ResourceOptions(provider=provider)

{text}
"""
PROVIDER = """\
provider = aws.Provider(
    "aws",
    region="{region}",
    allowed_account_ids=["{account}"],
    default_tags={{"tags": {{"team": "models"}}}},
    s3_use_path_style=True,
    skip_metadata_api_check=True,
)
"""


@dataclass
class Program:
    """A project in `folder`: resources by a program's text, driven by `pulumi`."""

    folder: Path
    environ: dict[str, str]
    url: str
    stack: str = "one"
    provider: str = PROVIDER.format(region=REGION, account=TWIN_ACCOUNT)

    def write(self, text: str) -> None:
        """Replace the program. `own` are the resource options with the provider."""
        text = textwrap.dedent(text)
        (self.folder / "__main__.py").write_text(PROGRAM.format(provider=self.provider, text=text))

    def pulumi(self, *arguments: str, refused: bool = False) -> str:
        """Run a command of the engine; its whole output. It must fail if, and only if, `refused`."""
        process = self.start(*arguments)
        text, _ = process.communicate(timeout=120)
        assert bool(process.returncode) == refused, f"pulumi {' '.join(arguments)}: {process.returncode}\n{text}"
        assert "Traceback" not in text, text
        return text

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start a command of the engine in a process group of its own."""
        return subprocess.Popen(
            [str(ensure().pulumi), *arguments, "--stack", self.stack, "--non-interactive"],
            cwd=self.folder,
            env=dict(self.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
        )

    def up(self, text: str = "", *, refused: bool = False) -> str:
        """`pulumi up` of a program."""
        if text:
            self.write(text)
        return self.pulumi("up", "--yes", "--skip-preview", refused=refused)

    def changes(self, text: str = "") -> dict[str, str]:
        """What `pulumi preview` would do: logical name -> operation; nothing that stays the same."""
        if text:
            self.write(text)
        output = self.pulumi("preview", "--json")
        steps = json.loads(output[output.index("{") :])["steps"]
        return {s["urn"].rpartition("::")[2]: s["op"] for s in steps if s["op"] not in ("same", "read", "refresh")}

    def resources(self) -> dict[str, dict[str, Any]]:
        """Logical name -> what the state holds of each resource of the plugin."""
        deployment = json.loads(self.pulumi("stack", "export"))["deployment"]
        found = [r for r in deployment.get("resources", []) if r["type"].startswith("aws:")]
        return {r["urn"].rpartition("::")[2]: r for r in found}

    def client(self, service: str) -> Any:
        """A boto3 client of the twin's."""
        keys = {"aws_access_key_id": ROOT_ACCESS_KEY, "aws_secret_access_key": ROOT_SECRET_KEY}
        return boto3.client(service, region_name=REGION, endpoint_url=self.url, **keys)


@pytest.fixture(scope="session")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a twin of AWS that judges no permissions."""
    home = tmp_path_factory.mktemp("twin")
    command = [sys.executable, "-m", "twins.aws", "serve", "--home", str(home), "--judge", "off", "--pace", "0.3"]
    command += ["--containers", "none"]
    process = subprocess.Popen([*command, "--no-stand-in"], stdin=subprocess.DEVNULL)
    try:
        yield wait_for_url(process, home / "twin.json")
    finally:
        children = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        process.wait(20)
        assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]


def wait_for_url(process: "subprocess.Popen[bytes]", file: Path) -> str:
    """The URL that a starting twin writes."""
    while process.poll() is None:
        if file.exists():
            return json.loads(file.read_text())["url"]
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
    raise AssertionError(f"the twin ended with {process.returncode}")


@pytest.fixture(scope="session")
def plugin(twin: str) -> Iterator[int]:
    """The port of a stand-in plugin."""
    with serving(AwsProvider(twin)) as port:
        yield port


@pytest.fixture
def make_program(tmp_path: Path, twin: str, plugin: int) -> Callable[..., Program]:
    """Makes projects, each with an empty stack `one`."""
    environ = {n: v for n, v in os.environ.items() if not n.startswith(("AWS_", "PULUMI_"))} | ensure().env
    environ |= {
        "PULUMI_BACKEND_URL": f"file://{tmp_path}/state",
        "PULUMI_HOME": str(tmp_path / "pulumi"),
        "PULUMI_CONFIG_PASSPHRASE": "",
        "PULUMI_SKIP_UPDATE_CHECK": "1",
        "PULUMI_DEBUG_PROVIDERS": f"aws:{plugin}",
        "VIRTUAL_ENV": sys.prefix,
        "AWS_ENDPOINT_URL": twin,
    }
    (tmp_path / "state").mkdir()

    def make(text: str = "", name: str = "project", stack: str = "one") -> Program:
        program = Program(tmp_path / name, dict(environ), twin, stack)
        program.folder.mkdir()
        (program.folder / "Pulumi.yaml").write_text(PROJECT.format(prefix=sys.prefix))
        program.write(text)
        program.pulumi("stack", "init")
        return program

    return make
