"""Recipes that TensorFlow trains: the image of their first job, and what is refused before data is fetched."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from llmops_kit.cli.plan.check import check_training
from llmops_kit.cli.runs.trainers import check_framework, find_trainer
from llmops_kit.core.documents.recipe import Recipe
from llmops_kit.core.documents.run import Compute, TrainerJob
from llmops_kit.core.errors import KitError
from tests.unit.cli.runs.test_runs import RECIPE

IMAGE = f"registry.example.com/training-tensorflow@sha256:{'7' * 64}"


def recipe(base: str = "store:tiny@1") -> Recipe:
    return Recipe.parse(RECIPE.replace("store:tiny@1", base) + "training: {framework: tensorflow}\n", "recipe.yaml")


def stack(image: str, tensorflow_image: str) -> Any:
    """A stack's platform, of which only the images are read."""
    training = SimpleNamespace(image=image, tensorflow_image=tensorflow_image)
    return SimpleNamespace(outputs=SimpleNamespace(training=training))


def test_the_stacks_image_trains_in_a_first_job() -> None:
    platform = stack(f"registry.example.com/training@sha256:{'6' * 64}", IMAGE)
    found = find_trainer(platform, recipe(), Path("recipe.yaml"), print)
    assert found == TrainerJob(image=IMAGE, command=["python", "-m", "llmops_kit.training.keras_trainer"])
    assert find_trainer(platform, Recipe.parse(RECIPE, "recipe.yaml"), Path("recipe.yaml"), print) is None
    with pytest.raises(KitError) as caught:
        find_trainer(stack(f"registry.example.com/training@sha256:{'6' * 64}", ""), recipe(), Path(), print)
    assert caught.value.where == "llmops:images.training_tensorflow"
    assert "`llmops images push training-tensorflow`" in caught.value.fix


def test_several_hosts_and_families_without_exporter_are_refused(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "config.json").write_text(json.dumps({"model_type": "gpt_neox"}))
    made, path = recipe("folder:base"), tmp_path / "recipe.yaml"
    with pytest.raises(KitError, match="on one host, and this run would have 2") as caught:
        check_framework(cast(Any, None), made, path, Compute(instance_type="ml.m5.xlarge", instances=2), print)
    assert "`--instances 1`" in caught.value.fix
    with pytest.raises(KitError, match="family 'gpt_neox'") as caught:
        check_framework(cast(Any, None), made, path, Compute(instance_type="ml.m5.xlarge"), print)
    assert caught.value.where == f"{path}: base_model"
    check_framework(
        cast(Any, None),
        Recipe.parse(RECIPE, "recipe.yaml"),
        path,
        Compute(instance_type="ml.m5.xlarge", instances=2),
        print,
    )


def test_a_check_estimates_no_tensorflow() -> None:
    with pytest.raises(KitError, match="are not estimated"):
        check_training(recipe(), Path("recipe.yaml"), None, None, None, print)


def test_a_trainer_of_the_users_and_tensorflow_exclude_each_other() -> None:
    both = "training: {framework: tensorflow}\ntrainer: {image: folder:mine, command: [python]}\n"
    with pytest.raises(KitError, match=r"`training\.framework` has no effect with `trainer`"):
        Recipe.parse(RECIPE + both, "recipe.yaml")
