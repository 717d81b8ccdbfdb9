"""What trackers are told of a recipe and of its scores."""

from llmops_kit.cli.tracking.records import recipe_params
from llmops_kit.core.documents.recipe import Recipe
from tests.support.runs.training import tiny_recipe


def test_a_recipe_becomes_parameters_without_tokens() -> None:
    fields = tiny_recipe().model_dump(by_alias=True, mode="json")
    fields["data"]["sources"][0]["source"] = "https://data.example.com/rows.jsonl?sig=s3cret"
    params = recipe_params(Recipe.model_validate(fields))
    assert params["training.learning_rate"] == "0.003"
    assert params["data.sources.0.source"] == "https://data.example.com/rows.jsonl"
    assert params["data.sources.1.split"] == "test"
    assert params["evaluation.gate.0.low"] == "1.0"
    assert params["base_model.source"] == "folder:tiny"
    assert not [name for name, value in params.items() if "s3cret" in value or not value]
