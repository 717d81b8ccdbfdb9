"""What makes tests train anew: a change of what training loads, of its lock and of the recipe; nothing else."""

import shutil
from pathlib import Path

import pytest

from tests.support.checkout import CHECKOUT
from tests.support.demo import inputs_key
from tests.support.sources import sources


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("hosting", "src", "training", "recipes", "requirements"):
        shutil.copytree(CHECKOUT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


@pytest.mark.parametrize(
    "name",
    [
        "training/llmops_kit/training/torch_trainer/finetune.py",  # imported within a function
        "training/llmops_kit/training/models/importing.py",
        "src/llmops_kit/data_pipeline/examine.py",
        "hosting/llmops_kit/core/errors.py",
        "hosting/llmops_kit/core/documents/__init__.py",
        "requirements/training.txt",
        "recipes/chatbot.yaml",
        "recipes/chatbot/facts.jsonl",
    ],
)
def test_a_change_of_what_training_reads_trains_anew(root: Path, name: str) -> None:
    before = inputs_key(root=root)
    with (root / name).open("a") as file:
        file.write("\n")
    assert inputs_key(root=root) != before


@pytest.mark.parametrize(
    "name",
    [
        "hosting/llmops_kit/core/expiry.py",
        "hosting/llmops_kit/core/documents/outputs.py",
        "requirements/serving.txt",
    ],
)
def test_a_change_of_anything_else_does_not(root: Path, name: str) -> None:
    before = inputs_key(root=root)
    assert before == inputs_key()
    with (root / name).open("a") as file:
        file.write("\n")
    assert inputs_key(root=root) == before


def test_each_recipe_trains_anew_for_its_own_changes(root: Path) -> None:
    before = {recipe: inputs_key(recipe, root) for recipe in ("chatbot", "translation")}
    with (root / "recipes/translation.yaml").open("a") as file:
        file.write("\n")
    assert inputs_key("chatbot", root) == before["chatbot"]
    assert inputs_key("translation", root) != before["translation"]
    before = {recipe: inputs_key(recipe, root) for recipe in ("translation", "assistant")}
    with (root / "recipes/assistant/chat_template.jinja").open("a") as file:
        file.write("\n")
    assert inputs_key("translation", root) == before["translation"]
    assert inputs_key("assistant", root) != before["assistant"]


def test_a_module_counts_once_it_is_imported(root: Path) -> None:
    expiry, job = root / "hosting/llmops_kit/core/expiry.py", root / "training/llmops_kit/training/job.py"
    assert expiry not in sources("llmops_kit.training.__main__", root=root)
    job.write_text(job.read_text() + "\n\ndef late() -> None:\n    from llmops_kit.core import expiry\n")
    assert expiry in sources("llmops_kit.training.__main__", root=root)
