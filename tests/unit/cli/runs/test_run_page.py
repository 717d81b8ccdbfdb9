"""The page of a run whose suites have units and scores of their own."""

import json
import re
from collections.abc import Sequence
from typing import Any

from llmops_kit.cli.interfaces.platform import Run
from llmops_kit.cli.runs.report import RunReport, SuiteReport, answered_rows
from llmops_kit.cli.runs.run_page import html
from llmops_kit.core.documents.dataset import DatasetManifest
from llmops_kit.core.documents.evaluation import Answer, Likelihood
from llmops_kit.core.documents.model import CopiedSources, CorpusScore, ModelManifest, Score, SuiteResult
from llmops_kit.core.documents.recipe_evaluation import GateCheck, Suite
from llmops_kit.core.documents.recipe_trainer import Trainer
from llmops_kit.core.documents.run import RunSpec, RunState
from llmops_kit.core.names import ModelRef
from llmops_kit.training.data.rows import row_of
from llmops_kit.training.evaluation.scorers import SuiteRow
from tests.support.checkout import EXAMPLES


def report(metric: str, answers: Sequence[tuple[Answer, Answer]], score: Any, **more: Any) -> SuiteReport:
    suite = Suite.model_validate({"name": "held-out", "split": "test", "metric": metric})
    asked = []
    for n in range(len(answers)):
        turns = [{"role": "user", "content": f"Question {n}?"}, {"role": "assistant", "content": f"Antwort {n}"}]
        asked.append(SuiteRow(row_of({"messages": turns}, "a:1"), "0" * 64, str(n)))
    before, after = ([pair[side] for pair in answers] for side in (0, 1))
    result = SuiteResult.model_validate(
        {"suite": "held-out", "split": "test", "metric": metric, "before": score, "after": score, "gain": score, **more}
    )
    check = GateCheck.model_validate({"suite": "held-out", "gain_low": 0.1})
    return SuiteReport(suite, result, check, answered_rows(suite, asked, before, after, {}))


def page(suite: SuiteReport, trainer: Trainer | None = None) -> str:
    manifest = ModelManifest.load(EXAMPLES / "model-2.json")
    spec = RunSpec.load(EXAMPLES / "run-2.json")
    spec = spec.model_copy(update={"recipe": spec.recipe.model_copy(update={"trainer": trainer})})
    state = RunState.new(id=spec.id, status="completed")
    ref = ModelRef(name="chatbot", number=1, sha256="0" * 64)
    dataset = DatasetManifest.model_validate(json.loads((EXAMPLES / "dataset-2.json").read_text()))
    return html(RunReport(Run(spec, state), ref, manifest, dataset, [suite], {}))


def test_a_loss_has_its_unit_and_the_highest_comes_first() -> None:
    answers = [
        (Likelihood(nats=8, tokens=4), Likelihood(nats=2, tokens=4)),
        (Likelihood(nats=9, tokens=3), Likelihood(nats=6, tokens=3)),
    ]
    suite = report("perplexity", answers, Score(value=1.0, low=0.5, high=2.0, rows=2, groups=2))
    assert [(row.prompt, row.score_after, row.weight) for row in suite.rows] == [
        ("Question 1?", 2.0, 3),
        ("Question 0?", 0.5, 4),
    ]
    text = page(suite)
    assert "a trainer other than the kit's" not in text
    own = Trainer(image="folder:<b>mine", command=["python"])
    assert "trained by folder:&lt;b&gt;mine, a trainer other than the kit&#x27;s" in page(suite, own)
    assert "perplexity, nats per token; lower is better; perplexity 2.72 → 2.72" in text
    assert "6.0 nats over 3 tokens" in text
    assert "class='wrong'" not in text
    assert 'class="whisker' not in text  # the chart's scale ends at 1


def test_a_translation_states_what_papers_do() -> None:
    corpus = [CorpusScore(name="BLEU", before=3.41, after=20.0, copied=11.3)]
    score, gain = (Score(value=value, low=0.1, high=0.5, rows=1, groups=1) for value in (0.4, 0.27))
    copied = CopiedSources(score=score, gain=gain)
    text = page(report("translation", [("x", "Antwort 0"), ("x", "Ant")], score, corpus=corpus, copied=copied))
    assert "translation; BLEU 3.4 → 20.0 (copying 11.3)" in text
    against = text.partition("held-out, against copying the source")[2].partition("</tr>")[0]
    assert [cell[:4] for cell in against.split("<td class='time'>")[1:]] == ["0.40", "0.40", "0.27"]
    assert "<title>copying: 0.40, 0.10 to 0.50</title>" in text
    assert text.count("class='wrong'") == 1
    assert 'class="whisker' in text
    chart = text.partition("<svg")[2].partition("</svg>")[0]
    assert re.findall(r'class="label[^"]*"[^>]*>([^<]*)<', chart) == ["held-out", "base model", "copying", "trained"]
