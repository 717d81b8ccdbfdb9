"""The page of a comparison: scores with their intervals and answers side by side, in one HTML file."""

from html import escape

from llmops.evaluation.comparison import ModelComparison
from llmops.pages.document import bullets, document
from llmops.runs.page import answers, scores


def html(comparison: ModelComparison) -> str:
    """One HTML file that loads nothing and runs nothing."""
    model, against = comparison.model, comparison.against
    shown = [answers(suite, against, model) for suite in comparison.suites]
    return document(
        f"{model} against {against}", [_head(comparison), scores(comparison.suites, against, model), *shown]
    )


def _head(comparison: ModelComparison) -> str:
    dataset = f"dataset {comparison.dataset.name} sha256:{comparison.dataset_sha256[:12]}"
    lines = [dataset, _origin(comparison.model, comparison.mine), _origin(comparison.against, comparison.theirs)]
    notes = "".join(f"<p class='soft'>{escape(line)}</p>" for line in lines)
    verdict = ""
    if gate := comparison.gate:
        word = "passed" if gate.passed else "failed"
        verdict = f"<p class='verdict {word}'>gate: {word}</p>\n{bullets(gate.reasons)}"
    return f"<h1>{escape(comparison.model)} against {escape(comparison.against)}</h1>\n{verdict}\n{notes}"


def _origin(name: str, source: dict[str, str]) -> str:
    """Where a model's answers come from."""
    return f"answers of {name}: " + ", ".join(f"{suite} {words}" for suite, words in source.items())
