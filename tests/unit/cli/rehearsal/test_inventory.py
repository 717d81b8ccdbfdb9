"""What two inventories differ in."""

from pathlib import Path

from llmops_kit.cli.rehearsal.clouds.azure_inventory import TYPES
from llmops_kit.cli.rehearsal.inventory import differences
from tests.support.clouds.azure import local_twin


def test_what_is_new_and_what_has_changed_or_gone() -> None:
    before = {"bucket a": 1, "key b": {"x": 1}, "role of-prod": 1}
    after = {"bucket a": 1, "key b": {"x": 2}, "topic c": 1, "role of-prod": 2, "alarm of-prod": 1}
    assert differences(before, after) == (["alarm of-prod", "topic c"], ["key b", "role of-prod"])
    assert differences(before, after, lambda name: "prod" in name) == (["topic c"], ["key b"])
    assert differences(before, {}) == ([], ["bucket a", "key b", "role of-prod"])
    assert differences(before, before) == ([], [])


def test_the_twin_knows_the_kinds_that_are_looked_at(tmp_path: Path) -> None:
    kinds = local_twin(tmp_path).kinds
    assert [t for t, (_, api_version) in TYPES.items() if api_version not in kinds[t.lower()].versions] == []
