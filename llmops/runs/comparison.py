"""Two runs on the rows that both were asked."""

from dataclasses import dataclass
from typing import Any

from contract.documents.model import Score
from llmops.platforms.platform import Platform, Run
from llmops.runs.report import run_report
from training.metrics import mean_gain, mean_score


@dataclass(frozen=True)
class SuiteComparison:
    """A suite of two runs; `gain` is that of the second over the first, row by row."""

    suite: str
    metric: str
    first: Score
    second: Score
    gain: Score

    def fields(self) -> dict[str, Any]:
        """One row of a table."""
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
        RunError: one of them is not complete, or was not collected.
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
        a, b = [mine.score_after for mine, _ in pairs], [their.score_after for _, their in pairs]
        scores = mean_score(a, groups), mean_score(b, groups)
        found.append(SuiteComparison(each.suite.name, each.suite.metric, *scores, mean_gain(a, b, groups)))
    return found
