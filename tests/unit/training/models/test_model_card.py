"""The model card of a trained version."""

import json
from typing import Any

import yaml

from llmops_kit.core.documents.dataset import DatasetManifest
from llmops_kit.core.documents.model import (
    CopiedSources,
    CorpusScore,
    GateResult,
    ModelManifest,
    Score,
    SuiteResult,
    TrainingFacts,
)
from llmops_kit.core.documents.recipe import Recipe
from llmops_kit.training.models.model_card import model_card
from tests.support.checkout import EXAMPLES

MODEL = ModelManifest.load(EXAMPLES / "model-2.json")
FACTS = TrainingFacts(steps=9, tokens=90, seconds=1.5, first_loss=3.0, last_loss=0.5, precision="f32")


def card(
    recipe: dict[str, Any] | None = None,
    dataset: dict[str, Any] | None = None,
    seconds: float = 1.5,
    evaluation: list[SuiteResult] = MODEL.evaluation,
) -> str:
    data = json.loads((EXAMPLES / "dataset-2.json").read_text()) | (dataset or {})
    made = Recipe.new(**json.loads((EXAMPLES / "recipe-2.json").read_text()) | (recipe or {}))
    facts = FACTS.model_copy(update={"seconds": seconds})
    gate = GateResult(passed=True, reasons=["facts: fine"])
    return model_card(made, MODEL, DatasetManifest.model_validate(data), evaluation, gate, facts)


def test_its_metadata_is_yaml_as_the_hub_reads_it() -> None:
    _, front, body = card().split("---\n", 2)
    metadata = yaml.safe_load(front)
    assert metadata["license"] == "apache-2.0"
    (result,) = metadata["model-index"][0]["results"]
    assert result["metrics"] == [{"type": "expect", "value": 0.9}]
    assert "| new-phrasings | rephrased | expect | 0.000 | 0.900 | 0.800 to 0.950 | 50 |" in body


def test_losses_and_translations_are_stated_as_others_state_them() -> None:
    score = Score(value=2.0, low=1.5, high=2.5, rows=40, groups=40)
    loss = SuiteResult(suite="loss", split="test", metric="perplexity", before=score, after=score)
    corpus = [
        CorpusScore(name="chrF++", before=13.5, after=40.0),
        CorpusScore(name="BLEU (zh)", before=3.4, after=20.0, copied=11.25),
        CorpusScore(name="placeholders", before=50.0, after=100.0, copied=100.0),
    ]
    changes = {"metric": "translation", "corpus": corpus, "copied": CopiedSources(score=score, gain=score)}
    chinese = loss.model_copy(update={"suite": "chinese", **changes})
    _, front, body = card(evaluation=[loss, chinese]).split("---\n", 2)
    metrics = [result["metrics"] for result in yaml.safe_load(front)["model-index"][0]["results"]]
    assert metrics == [
        [{"type": "perplexity", "value": 7.3891}],
        [{"type": "chrf", "value": 40.0}, {"type": "bleu", "value": 20.0}],
    ]
    assert (
        "| loss | test | perplexity (nats per token; lower is better) | 2.000 | 2.000 | 1.500 to 2.500 | 40 |" in body
    )
    assert "| chinese | test | translation (copying the source: 2.00) | 2.000 | 2.000 | 1.500 to 2.500 | 40 |" in body
    assert "| chinese | test | BLEU (zh), of all answers (copying the source: 11.25) | 3.40 | 20.00 | - | - |" in body


def test_it_says_how_the_model_was_trained() -> None:
    assert "Supervised fine-tuning; LoRA (rank 16, alpha 32, merged)." in card()
    text = card({"training": {"method": "dpo", "adapter": "none", "schedule": "cosine"}})
    assert "Direct preference optimization, beta 0.1; all weights." in text
    assert "(cosine)" in text
    assert '"lora"' not in text


def test_equal_runs_have_equal_cards() -> None:
    assert card(seconds=1.0) == card(seconds=2.0)


def test_text_of_recipe_and_data_begins_no_block_of_markdown() -> None:
    source = {"source": "a|b\n# <script>", "licence": "<b>", "rows": 1, "sha256": "0" * 64}
    text = card({"serving": {"system_prompt": "\n---\n<img src=x>"}}, {"sources": [source]})
    assert "\n# <" not in text
    assert "<script" not in text
    assert "<img" not in text
    assert "| a\\|b # &lt;script> | &lt;b> | 1 |" in text
