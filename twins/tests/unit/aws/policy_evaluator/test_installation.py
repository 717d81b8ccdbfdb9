"""What the permission judge of AWS's twin is installed from, and what it brings."""

import json
import os
from pathlib import Path

from llmops_twins.aws.policy_evaluator.installation import JUDGE, install


def test_the_lock_names_no_host_and_pins_every_package() -> None:
    lock = json.loads((JUDGE.sources / "package-lock.json").read_text())
    packages = {name: each for name, each in lock["packages"].items() if name}
    assert len(packages) == 4
    assert all(each["integrity"].startswith("sha512-") for each in packages.values())
    assert "://" not in json.dumps(lock)


def test_the_program_lies_beside_its_packages_and_the_data_is_there(tmp_path: Path) -> None:
    environ = {**os.environ, "LLMOPS_CACHE": str(tmp_path)}
    made = install(environ)
    assert made.script.read_text() == (JUDGE.sources / "judge.mjs").read_text()
    assert (made.script.parent / "node_modules" / JUDGE.needs).is_dir()
    assert (made.data / "actions" / "sagemaker.json").exists()
    assert install(environ) == made
