"""A copy of the checkout with a stack on each cloud's twin: there the how-to pages' commands run, and those of the page
on the twins, each page after those before. A block that names the twin of one cloud is for that cloud alone."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.checkout import CHECKOUT
from tests.support.clouds.aws import Account, running_account
from tests.support.clouds.azure_twin import Subscription, running_twin
from tests.support.demo import copy_checkout
from tests.support.environments import SAGEMAKER, environment
from tests.support.tiny_models.models import tiny_model

REGION = "us-east-1"
PAGES = {
    "aws": ("own-base-model", "own-data", "spot-and-multi-node", "rollouts", "sagemaker-sdk", "twin"),
    "azure": ("azure", "own-base-model", "own-data", "spot-and-multi-node", "rollouts", "twin"),
}
DOCS = CHECKOUT / "docs"
MARK = "### block"
TELEMETRY_OFF = "SchemaVersion: '1.0'\nSageMaker: {PythonSDK: {Modules: {TelemetryOptOut: true}}}\n"


@dataclass
class Site:
    """Where the pages' reader works, and what each page's blocks printed. `twin`: its support, of the cloud."""

    cloud: str
    folder: Path
    twin: Any
    environ: dict[str, str]
    printed: dict[str, list[str]] = field(default_factory=dict)

    def page(self, name: str) -> list[str]:
        """What each of a page's bash blocks for this cloud printed; the pages before it run first."""
        pages = PAGES[self.cloud]
        for each in pages[: pages.index(name) + 1]:
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
        blocks = re.findall(r"^```bash\n(.*?)^```", find_page(name).read_text(), flags=re.MULTILINE | re.DOTALL)
        others = [f"llmops twin {cloud} " for cloud in PAGES if cloud != self.cloud]
        ours = [block for block in blocks if not any(words in block for words in others)]
        assert ours
        script = "".join(f"echo '{MARK}'\n{block}\n" for block in ours)
        return self.run(f"set -eo pipefail\n{script}").split(f"{MARK}\n")[1:]


def find_page(name: str) -> Path:
    """A page below docs/."""
    (found,) = DOCS.rglob(f"{name}.md")
    return found


@pytest.fixture(scope="session")
def aws_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """On AWS's twin."""

    def run_twin(home: Path) -> AbstractContextManager[Account]:
        return running_account(home, name="aws", containers="run", pace=0.05, region=REGION)

    with _site("aws", tmp_path_factory, run_twin) as made:
        (made.folder / "sdk.yaml").write_text(TELEMETRY_OFF)
        made.environ |= {
            "SDK_PYTHON": str(environment("clients", SAGEMAKER) / "bin" / "python"),
            "SAGEMAKER_USER_CONFIG_OVERRIDE": str(made.folder / "sdk.yaml"),
        }
        made.run("llmops images build && llmops up")
        yield made


@pytest.fixture(scope="session")
def azure_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """On Azure's twin."""

    def run_twin(home: Path) -> AbstractContextManager[Subscription]:
        return running_twin(home, name="azure", containers="run", pace=0.05)

    with _site("azure", tmp_path_factory, run_twin) as made:
        yield made


@pytest.fixture
def site(request: pytest.FixtureRequest) -> Site:
    """On the twin of the cloud that a test names."""
    return request.getfixturevalue(f"{request.param}_site")


@contextmanager
def _site(
    cloud: str,
    tmp_path_factory: pytest.TempPathFactory,
    run_twin: Callable[[Path], AbstractContextManager[Any]],
) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("howto").resolve() / "llmops"
    copy_checkout(folder)
    (folder / ".venv").symlink_to(sys.prefix)
    shutil.copytree(tiny_model(), folder / "my-model", ignore=shutil.ignore_patterns("manifest.json*", "openvino*"))
    with run_twin(folder / ".llmops/twins") as twin:
        ours = {name: value for name, value in twin.environ.items() if not name.startswith("PYTHON")}
        path = os.pathsep.join([str(Path(sys.prefix) / "bin"), twin.environ["PATH"]])
        yield Site(cloud, folder, twin, ours | {"PATH": path, "PULUMI_STACK": f"{cloud}-dev"})
