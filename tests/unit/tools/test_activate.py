"""The virtual environment's activate script, in every shell that it is written for."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools.activate import extend

NAMES = ["PATH", "PULUMI_BACKEND_URL", "PULUMI_CONFIG_PASSPHRASE", "PULUMI_SKIP_UPDATE_CHECK"]
SHOW = "; ".join(f'echo "{name}=${{{name}-unset}}"' for name in NAMES)


@pytest.fixture(params=["sh", "bash", "zsh"])
def shell(request: pytest.FixtureRequest) -> str:
    if found := shutil.which(request.param):
        return found
    pytest.skip(f"no {request.param} on this machine")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with a space in its name, a virtual environment and an engine of the kit's own."""
    folder = tmp_path / "the kit"
    engine = tmp_path / "engine" / "bin"
    engine.mkdir(parents=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / ".venv"], check=True)
    activate = folder / ".venv" / "bin" / "activate"
    activate.write_text(extend(activate.read_text(), str(engine)))
    return folder


def variables(shell: str, script: str, environ: dict[str, str]) -> list[dict[str, str]]:
    """The variables at each SHOW of the script."""
    script = script.replace("SHOW", SHOW)
    run = subprocess.run([shell, "-c", f"set -u; {script}"], env={"PATH": "/usr/bin:/bin", **environ}, text=True,
                         capture_output=True, check=True)  # fmt: skip
    assert run.stderr == ""
    lines = run.stdout.splitlines()
    return [
        dict(line.split("=", 1) for line in lines[start : start + len(NAMES)])
        for start in range(0, len(lines), len(NAMES))
    ]


def test_activation_chooses_engine_and_local_backend_and_deactivation_restores(shell: str, checkout: Path) -> None:
    (checkout / ".llmops" / "state").mkdir(parents=True)
    before, active, again, after = variables(
        shell,
        f'SHOW; . "{checkout}/.venv/bin/activate"; SHOW; . "{checkout}/.venv/bin/activate"; SHOW; deactivate; SHOW',
        {},
    )
    assert active["PATH"].split(":")[:2] == [str(checkout.parent / "engine" / "bin"), str(checkout / ".venv" / "bin")]
    assert active["PULUMI_BACKEND_URL"] == f"file://{checkout}/.llmops/state?metadata=skip"
    assert active["PULUMI_CONFIG_PASSPHRASE"] == ""
    assert active["PULUMI_SKIP_UPDATE_CHECK"] == "1"
    assert again == active
    assert after == before


def test_without_the_demos_state_no_backend_is_chosen(shell: str, checkout: Path) -> None:
    (active,) = variables(shell, f'. "{checkout}/.venv/bin/activate"; SHOW', {})
    assert active["PULUMI_BACKEND_URL"] == "unset"
    assert active["PULUMI_CONFIG_PASSPHRASE"] == "unset"


@pytest.mark.parametrize(
    "chosen", [{"PULUMI_BACKEND_URL": "s3://team"}, {"PULUMI_ACCESS_TOKEN": "pul-1"}], ids=["url", "token"]
)
def test_a_chosen_backend_stays(shell: str, checkout: Path, chosen: dict[str, str]) -> None:
    (checkout / ".llmops" / "state").mkdir(parents=True)
    active, after = variables(shell, f'. "{checkout}/.venv/bin/activate"; SHOW; deactivate; SHOW', chosen)
    assert active["PULUMI_BACKEND_URL"] == after["PULUMI_BACKEND_URL"] == chosen.get("PULUMI_BACKEND_URL", "unset")
    assert active["PULUMI_CONFIG_PASSPHRASE"] == "unset"


def test_a_chosen_passphrase_stays(shell: str, checkout: Path) -> None:
    (checkout / ".llmops" / "state").mkdir(parents=True)
    active, after = variables(
        shell, f'. "{checkout}/.venv/bin/activate"; SHOW; deactivate; SHOW', {"PULUMI_CONFIG_PASSPHRASE": "mine"}
    )
    assert active["PULUMI_CONFIG_PASSPHRASE"] == after["PULUMI_CONFIG_PASSPHRASE"] == "mine"


def test_with_the_users_own_engine_path_is_only_the_environments(shell: str, checkout: Path) -> None:
    activate = checkout / ".venv" / "bin" / "activate"
    activate.write_text(extend(activate.read_text(), ""))  # also replaces what an earlier setup wrote
    (active,) = variables(shell, f'. "{activate}"; SHOW', {})
    assert active["PATH"] == f"{checkout}/.venv/bin:/usr/bin:/bin"
    assert active["PULUMI_SKIP_UPDATE_CHECK"] == "unset"


def test_extending_twice_changes_nothing_more(checkout: Path) -> None:
    once = (checkout / ".venv" / "bin" / "activate").read_text()
    assert extend(once, str(checkout.parent / "engine" / "bin")) == once
