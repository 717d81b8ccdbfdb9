"""The assistant's dataset as it is built: with the leaderboard's wheel from the package index."""

from collections import Counter, defaultdict
from pathlib import Path

from llmops_kit.cli.data.build import build_dataset
from llmops_kit.cli.data.dataset_versions import DatasetFolder
from llmops_kit.core.documents.recipe import Recipe
from llmops_kit.training.evaluation.scoring import check_suites
from tests.support.checkout import CHECKOUT

RECIPES = CHECKOUT / "recipes"


def test_no_function_of_the_test_split_is_trained(tmp_path: Path) -> None:
    for name in ("assistant", "assistant-8b"):
        recipe = Recipe.load(RECIPES / f"{name}.yaml")
        build_dataset(recipe, RECIPES, tmp_path / name, collected=tmp_path / f"{name}-collected")
        check_suites(recipe, tmp_path / name)
        version = DatasetFolder.open(tmp_path / name)
        functions: dict[str, set[str]] = defaultdict(set)
        rows: Counter[tuple[str, str]] = Counter()
        for split in ("train", "test"):
            for row in version.rows(split):
                rows[split, row.metadata["category"]] += 1
                if row.tools:  # of several functions, the first one decides: others may be offered on both sides
                    functions[split] |= {row.metadata["function"]}
        assert not functions["train"] & functions["test"]
        assert all(rows["train", category] for category in ("simple_python", "irrelevance", "answer", "plain"))
        if name == "assistant":
            offered = {"simple_python": 1, "irrelevance": 1, "answer": 2, "plain": 0}
            assert all(len(row.tools) == offered[row.metadata["category"]] for row in version.rows("test"))
