"""The stack files that the README shows are those of the checkout, and differ in nothing but the cloud."""

import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[3]


def shown(cloud: str) -> dict[str, Any]:
    """The README's stack file of a cloud."""
    blocks = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "README.md").read_text(), flags=re.MULTILINE | re.DOTALL)
    (block,) = (block for block in blocks if f"llmops:target: {cloud}\n" in block)
    return YAML(typ="safe").load(block)


@pytest.mark.parametrize("cloud", ["aws", "azure"])
def test_a_stack_file_is_the_checkouts(cloud: str) -> None:
    assert shown(cloud) == YAML(typ="safe").load((ROOT / f"Pulumi.{cloud}-dev.yaml").read_text())


def test_only_the_cloud_differs() -> None:
    assert {key.replace("azure", "aws") for key in shown("azure")["config"]} == set(shown("aws")["config"])
