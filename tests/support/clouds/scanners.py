"""Foreign scanners, each in an environment of its own below the cache; what they find, against what is accepted."""

import os
import subprocess
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.support.environments import environment

PINS = {
    "checkov": ["checkov==3.3.30"],
    "parliament": ["parliament==1.6.4", "setuptools==80.9.0"],  # it imports pkg_resources
    "prowler": ["prowler==5.46.0"],
    "zizmor": ["zizmor==1.32.0"],
}
ACCEPTED = Path(__file__).parents[2] / "emulated/scanners/accepted.toml"


def installed(scanner: str) -> Path:
    """The scanner's command; it is installed first where it is missing, which takes a minute for prowler."""
    return environment("scanners", PINS[scanner]) / "bin" / scanner


def scan(scanner: str, *arguments: str, environ: Mapping[str, str] | None = None, given: str = "") -> str:
    """Run a scanner; what it prints. Its exit code tells of findings and is not looked at."""
    command = [str(installed(scanner)), *arguments]
    env = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")} | dict(environ or {})
    done = subprocess.run(command, env=env, input=given, text=True, capture_output=True, timeout=600)
    assert "Traceback" not in done.stderr or done.stdout, done.stderr
    return done.stdout


def differences(scanner: str, found: Iterable[str]) -> list[str]:
    """Findings that nobody accepted, and accepted ones that are found no more."""
    accepted, occurring = accepted_findings(scanner), set(found)
    new = [f"not accepted: {each}" for each in sorted(occurring - accepted)]
    return new + [f"accepted, but found no more: {each}" for each in sorted(accepted - occurring)]


def accepted_findings(scanner: str) -> set[str]:
    """What is accepted of a scanner's findings, each with a reason."""
    accepted = tomllib.loads(ACCEPTED.read_text())[scanner]
    assert all(reason.strip() for reason in accepted.values())
    return set(accepted)
