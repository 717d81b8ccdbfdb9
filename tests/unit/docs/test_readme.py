"""The stack files that the README shows are those of the checkout, and differ in nothing but the cloud."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.support.checkout import CHECKOUT
from tools import ran

REPORT = {
    "schema": "smoke/1",
    "twin": False,
    "target": "aws",
    "started": "2026-12-01T10:00:00Z",
    "kit_version": "0.2.0",
    "steps": [{"state": "passed"}, {"state": "passed"}, {"state": "failed"}],
}


def shown(cloud: str) -> dict[str, Any]:
    """The README's stack file of a cloud."""
    blocks = re.findall(r"^```yaml\n(.*?)^```", (CHECKOUT / "README.md").read_text(), flags=re.MULTILINE | re.DOTALL)
    (block,) = (block for block in blocks if f"llmops:target: {cloud}\n" in block)
    return YAML(typ="safe").load(block)


@pytest.mark.parametrize("cloud", ["aws", "azure"])
def test_a_stack_file_is_the_checkouts(cloud: str) -> None:
    assert shown(cloud) == YAML(typ="safe").load((CHECKOUT / f"Pulumi.{cloud}-dev.yaml").read_text())


def test_only_the_cloud_differs() -> None:
    assert {key.replace("azure", "aws") for key in shown("azure")["config"]} == set(shown("aws")["config"])


def test_the_first_screen_says_where_the_kit_has_run() -> None:
    first = re.sub(r"\s+", " ", (CHECKOUT / "README.md").read_text().partition("\n## ")[0])
    found = ran.newest()
    assert f"{ran.words(found)}, never on a GPU" in first, "`python -m tools.ran` prints what it should say"
    assert f"**What has run where, as of {ran.day(found)}" in first
    assert f"As of {ran.day(found)}" in (CHECKOUT / "docs/status.md").read_text()


@pytest.mark.parametrize(
    ("reports", "words", "day"),
    [
        ([], "Never on a real cloud", ""),
        (
            [REPORT, REPORT | {"started": "2026-11-30T10:00:00Z", "steps": []}],
            "On AWS on 2026-12-01, version 0.2.0: 2 of 3 steps of the smoke test passed; never on Azure",
            "2026-12-01",
        ),
        (
            [REPORT, REPORT | {"target": "azure", "started": "2027-01-02T10:00:00Z"}],
            (
                "On AWS on 2026-12-01, version 0.2.0: 2 of 3 steps of the smoke test passed; "
                "on Azure on 2027-01-02, version 0.2.0: 2 of 3 steps of the smoke test passed"
            ),
            "2027-01-02",
        ),
    ],
)
def test_the_newest_report_of_each_cloud_is_what_is_said(
    reports: list[dict[str, Any]], words: str, day: str, tmp_path: Path
) -> None:
    for number, report in enumerate(reports):
        (tmp_path / f"{number}.json").write_text(json.dumps(report))
    found = ran.newest(tmp_path)
    assert (ran.words(found), ran.day(found)) == (words, day)


def test_a_report_of_a_twin_is_no_report_of_a_cloud(tmp_path: Path) -> None:
    (tmp_path / "aws.json").write_text(json.dumps(REPORT | {"twin": True}))
    with pytest.raises(ValueError, match="is not a report of a smoke test on a real account"):
        ran.newest(tmp_path)
