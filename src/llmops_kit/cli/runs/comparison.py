"""Two runs on the rows that both were asked."""

from dataclasses import dataclass
from typing import Any

from llmops_kit.cli.platforms.platform import Platform, Run
from llmops_kit.cli.runs.report import run_report
from llmops_kit.contract.documents.model import Score
from llmops_kit.contract.documents.recipe_evaluation import Metric
from llmops_kit.contract.errors import RunError
from llmops_kit.training.evaluation.metrics import Scored, gain_of, summarise


@dataclass(frozen=True)
class SuiteComparison:
    """A suite of two runs; `gain` is that of the second over the first, row by row."""

    suite: str
    metric: Metric
    first: Score
    second: Score
    gain: Score

    def fields(self) -> dict[str, Any]:
        """Returns one row of a table."""
        gain = self.gain
        return {
            "suite": self.suite,
            "metric": self.metric,
            "a": self.first.value,
            "b": self.second.value,
            "gain": gain.value,
            "low": gain.low,
            "high": gain.high,
            "rows": gain.rows,
            "groups": gain.groups,
        }


def compare_runs(platform: Platform, first: Run, second: Run) -> list[SuiteComparison]:
    """Compare the trained models of two collected runs by suites of one name and metric.

    Raises:
        RunError: one of them is not complete, or was not collected; or their models count tokens differently.
        IntegrityError: a version or dataset was changed.
    """
    others = {each.suite.name: each for each in run_report(platform, second).suites}
    found = []
    for each in run_report(platform, first).suites:
        other = others.get(each.suite.name)
        if other is None or other.suite.metric != each.suite.metric:
            continue
        theirs = {row.id: row for row in other.rows}
        pairs = [(row, theirs[row.id]) for row in each.rows if row.id in theirs]
        if not pairs:
            continue
        groups = [mine.group for mine, _ in pairs]
        a = Scored([mine.score_after for mine, _ in pairs], [mine.weight for mine, _ in pairs])
        b = Scored([their.score_after for _, their in pairs], [their.weight for _, their in pairs])
        name, metric = each.suite.name, each.suite.metric
        if a.weights != b.weights:
            raise RunError(
                "their models count other tokens, so that losses per token can't be compared",
                where=f"suite {name}",
                fix="compare runs of one base model, or of base models with one tokenizer",
            )
        scores = summarise(metric, a, groups), summarise(metric, b, groups)
        found.append(SuiteComparison(name, metric, *scores, gain_of(metric, a, b, groups)))
    return found
