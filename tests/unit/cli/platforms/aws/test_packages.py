"""What the kit says of a version in the model package group is what SageMaker accepts."""

from typing import Any

from llmops_kit.cli.platforms.aws.packages import properties
from llmops_kit.core.documents.model import Lineage, ModelManifest, Score, SuiteResult
from llmops_kit.core.documents.recipe_evaluation import GateCheck
from llmops_kit.core.documents.run import Pinned
from llmops_kit.core.names import ModelRef
from llmops_kit.training.evaluation.scoring import decide
from llmops_twins.aws.wire.patterns import compiled
from llmops_twins.aws.wire.reading import model_of


def test_every_property_fits_sagemakers_patterns() -> None:
    model = model_of("sagemaker")
    key, value = (compiled(model.shape_for(f"CustomerMetadata{part}").metadata["pattern"]) for part in ("Key", "Value"))
    manifest = _trained()
    found = properties(ModelRef("chatbot", 1, "0" * 64), manifest)
    assert all(key.fullmatch(name) and value.fullmatch(text) for name, text in found.items()), found
    assert found["gate"] == (
        "facts: score 0.90 0.80 at its lower bound at least 0.50 / "
        "facts: gain 0.80 0.70 at its lower bound less than 0.85"
    )
    assert found["licence"] == "CC BY-SA 4.0 MIT"


def _trained() -> ModelManifest:
    score: dict[str, Any] = {
        name: Score(value=value, low=value - 0.1, high=1, rows=40, groups=40)
        for name, value in (("before", 0.1), ("after", 0.9), ("gain", 0.8))
    }
    results = [SuiteResult(suite="facts", split="new", **score)]
    pinned = Pinned(name="chatbot", sha256="1" * 64)
    return ModelManifest.model_construct(
        licence="CC BY-SA 4.0, MIT;",
        lineage=Lineage(run="chatbot-1", dataset=pinned, base_model=pinned, image=f"x/y@sha256:{'2' * 64}"),
        evaluation=results,
        gate=decide([GateCheck(suite="facts", low=0.5, gain_low=0.85)], results),
    )
