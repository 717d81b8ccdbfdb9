"""The workflows of docs/how-to/github, judged by zizmor's rules for GitHub Actions."""

import json
import shutil
from pathlib import Path

import pytest

from tests.support.clouds.scanners import differences, scan
from tests.support.workflows import WORKFLOWS, names


def findings(folder: Path) -> set[str]:
    """What zizmor finds without GitHub: `rule file`."""
    files = [str(path) for path in sorted(folder.rglob("*.yml"))]
    options = ["--offline", "--no-progress", "--persona", "pedantic", "--min-severity", "low", "--format", "json"]
    return {f"{each['ident']} {_file(each, folder)}" for each in json.loads(scan("zizmor", *options, *files))}


def _file(finding: dict[str, object], folder: Path) -> str:
    text = json.dumps(finding["locations"])
    return next(
        str(path.relative_to(folder)) for path in sorted(folder.rglob("*.yml"), reverse=True) if str(path) in text
    )


@pytest.mark.scorecard("workflows")
def test_zizmor_over_the_workflows() -> None:
    assert differences("zizmor", findings(WORKFLOWS)) == []


@pytest.mark.scorecard("scanner-sensitivity")
def test_zizmor_finds_what_is_wrong(tmp_path: Path) -> None:
    shutil.copytree(WORKFLOWS, tmp_path / "github")
    folder = tmp_path / "github"
    wrong = {
        "artipacked": (
            "deploy.yml",
            "        with:\n          persist-credentials: false # leaves no token on disk\n",
            "",
        ),
        "excessive-permissions": ("drift.yml", "permissions: {}\n", "permissions: write-all\n"),
        "unpinned-uses": ("preview.yml", "@08c6903cd8c0fde910a37f88322edcfb5dd907a8", "@main"),
        "template-injection": ("promote.yml", '"$VERSION"', '"${{ inputs.version }}"'),
        "dangerous-triggers": ("rehearse.yml", "on: pull_request\n", "on: pull_request_target\n"),
    }
    for name, old, new in wrong.values():
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))
    found = findings(folder)
    assert {f"{rule} {name}" for rule, (name, _, _) in wrong.items()} <= found
    assert len(names()) == 10
