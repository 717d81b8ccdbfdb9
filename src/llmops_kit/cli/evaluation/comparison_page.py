"""The page of a comparison: scores with their intervals and answers side by side, in one HTML file."""

from html import escape
from typing import TYPE_CHECKING

from llmops_kit.cli.evaluation.comparison import ModelComparison
from llmops_kit.cli.pages.document import bullets, document, table
from llmops_kit.cli.runs.run_page import answers, scores

if TYPE_CHECKING:
    from llmops_kit.cli.evaluation.lm_eval import TaskScore


def html(model: str, comparison: ModelComparison | None, tasks: "list[TaskScore]") -> str:
    """Returns a comparison as one HTML file that loads and executes nothing.

    Args:
        model: the model's name.
        comparison: with another model, if there was one.
        tasks: scores of the harness, if it ran.
    """
    if comparison is None:
        return document(f"{model}: tasks", [f"<h1>{escape(model)}</h1>", _tasks(tasks)])
    against = comparison.against
    shown = [answers(suite, against, model) for suite in comparison.suites]
    sections = [_head(comparison), scores(comparison.suites, against, model, "difference"), _tasks(tasks), *shown]
    return document(f"{model} against {against}", sections)


def _tasks(tasks: "list[TaskScore]") -> str:
    """Returns the harness's scores."""
    rows = []
    for each in tasks:
        metric = each.metric if each.higher_is_better else f"{each.metric}, lower is better"
        score = f"{each.value:.4g}" if each.stderr is None else f"{each.value:.4g} ± {each.stderr:.2g}"
        cells = (each.task, metric, score, str(each.rows))
        rows.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
    words = "<p class='soft'>lm-evaluation-harness, with the standard error that it reports</p>"
    return f"<h2>Tasks</h2>\n{words}\n{table(('task', 'metric', 'score', 'rows'), rows)}" if rows else ""


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
    """Returns a sentence on the origin of a model's answers."""
    if len(set(source.values())) == 1:
        return f"answers of {name}: {next(iter(source.values()))}"
    return f"answers of {name}: " + ", ".join(f"{suite} {words}" for suite, words in source.items())
