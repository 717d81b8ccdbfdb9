"""Real models that are asked in the training image, as processes of this machine."""

import shutil
from pathlib import Path

import pytest

from llmops_kit.cli.data.build import build_dataset
from llmops_kit.cli.data.dataset_versions import DatasetFolder
from llmops_kit.cli.evaluation.answers import Questions, answers_of, known_answers
from llmops_kit.cli.evaluation.comparison import compare_models, questions_for
from llmops_kit.cli.evaluation.models import AskedModel, find_model
from llmops_kit.cli.platforms.local.platform import LocalPlatform
from llmops_kit.core.documents.recipe import Recipe
from llmops_kit.core.errors import KitError
from llmops_kit.core.layout import cache_dir
from tests.support.runs.training import tiny_recipe, write_rows
from tests.support.tiny_models.models import tiny_model, tiny_source
from tests.unit.cli.conftest import make_platform


@pytest.fixture
def platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalPlatform:
    """A stack whose store has the tiny model, and an empty cache but for the images' environments."""
    model = tiny_model()  # in the machine's cache
    environments = cache_dir() / "venvs"
    environments.mkdir(parents=True, exist_ok=True)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "venvs").symlink_to(environments)
    monkeypatch.setenv("LLMOPS_CACHE", str(tmp_path / "cache"))
    platform = make_platform(tmp_path / "home", "dev")
    platform.store().put_model(model, platform.sign)
    return platform


def ask_two_suites(platform: LocalPlatform, folder: Path, *models: AskedModel) -> Questions:
    plain = tiny_recipe()
    metrics = {"first": "f1", "second": "f1", "losses": "perplexity"}
    suites = [{"name": name, "split": "test", "metric": each, "max_tokens": 8} for name, each in metrics.items()]
    recipe = Recipe.new(**plain.model_dump(exclude={"schema_", "evaluation"}), evaluation={"suites": suites})
    write_rows(folder / "rows")
    build_dataset(recipe, folder / "rows", folder / "dataset")
    return questions_for(platform, models, recipe, DatasetFolder.open(folder / "dataset"))


def test_two_models_answer_here_an_interrupted_one_goes_on_and_nothing_is_asked_twice(
    platform: LocalPlatform, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_source(1), tmp_path / "other")
    models = find_model(platform, "tiny@1", tmp_path), find_model(platform, "other", tmp_path)
    questions = ask_two_suites(platform, tmp_path, *models)
    said: list[str] = []

    def interrupt(line: str) -> None:
        said.append(line)
        if "suite=second" in line:
            raise KeyboardInterrupt

    def answers(model: AskedModel):
        return answers_of(platform.store(), model, questions, "", said.append)

    with pytest.raises(KeyboardInterrupt):
        answers_of(platform.store(), models[0], questions, "", interrupt)
    assert known_answers(platform.store(), models[0], questions).source == {"first": "this machine"}
    said.clear()
    found = compare_models(models, questions, answers, lambda _: {})
    mine = [line for line in said if line.startswith("tiny@1: ")]
    assert any("suite=second answered=30 of=30" in line for line in mine)
    assert not any("suite=first" in line for line in mine)
    rows = found.suites[0].rows
    assert len(rows) == 30
    assert any(row.before != row.after for row in rows)
    assert 2 < found.suites[2].result.after.value < 8  # of random weights: about the logarithm of the vocabulary
    said.clear()
    assert compare_models(models, questions, answers, lambda _: {}) == found
    assert said == []

    (folder / "tokenizer_config.json").write_text('{"auto_map": {}}')
    changed = find_model(platform, "other", tmp_path)
    with pytest.raises(KitError, match="asks to run code of the model's"):
        answers_of(platform.store(), changed, questions, "", said.append)
