"""A copy of the checkout with a stack on a twin: there the how-to pages' commands run, each page after those before."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.aws import Account, running_account
from tests.support.demo import copy_checkout
from tests.support.environments import SAGEMAKER, environment
from tests.support.models import tiny_model

STACK, REGION = "aws-dev", "eu-central-1"
PAGES = ("own-base-model", "own-data", "spot-and-multi-node", "rollouts", "sagemaker-sdk")
FOLDER = Path(__file__).parents[3] / "docs/how-to"
MARK = "### block"
TELEMETRY_OFF = "SchemaVersion: '1.0'\nSageMaker: {PythonSDK: {Modules: {TelemetryOptOut: true}}}\n"


@dataclass
class Site:
    """Where the pages' reader works, and what each page's blocks printed."""

    folder: Path
    account: Account
    environ: dict[str, str]
    printed: dict[str, list[str]] = field(default_factory=dict)

    def page(self, name: str) -> list[str]:
        """What each bash block of a page printed; the pages before it run first."""
        for each in PAGES[: PAGES.index(name) + 1]:
            if each not in self.printed:
                self.printed[each] = self._run_page(each)
        return self.printed[name]

    def run(self, script: str) -> str:
        """What a bash script prints; AssertionError with its end if it fails."""
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout[-6000:]}"
        assert "\nTraceback" not in done.stdout, done.stdout
        return done.stdout

    def _run_page(self, name: str) -> list[str]:
        blocks = re.findall(r"^```bash\n(.*?)^```", (FOLDER / f"{name}.md").read_text(), flags=re.MULTILINE | re.DOTALL)
        assert blocks
        script = "".join(f"echo '{MARK}'\n{block}\n" for block in blocks)
        return self.run(f"set -eo pipefail\n{script}").split(f"{MARK}\n")[1:]


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("howto").resolve() / "llmops"
    copy_checkout(folder)
    (folder / ".venv").symlink_to(sys.prefix)
    shutil.copytree(tiny_model(), folder / "my-model", ignore=shutil.ignore_patterns("manifest.json*", "openvino*"))
    (folder / "sdk.yaml").write_text(TELEMETRY_OFF)
    with running_account(folder / ".llmops/twins", name="aws", containers="run", pace=0.05) as account:
        account.region = REGION
        ours = {name: value for name, value in account.environ.items() if not name.startswith("PYTHON")}
        environ = ours | {
            "PATH": os.pathsep.join([str(Path(sys.prefix) / "bin"), account.environ["PATH"]]),
            "PULUMI_STACK": STACK,
            "SDK_PYTHON": str(environment("clients", SAGEMAKER) / "bin" / "python"),
            "SAGEMAKER_USER_CONFIG_OVERRIDE": str(folder / "sdk.yaml"),
        }
        made = Site(folder, account, environ)
        made.run("llmops images build && llmops up")
        yield made
