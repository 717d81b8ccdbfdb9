"""Outcomes of an attempt to run a training job."""

from pathlib import Path

from llmops_twins.aws.sagemaker.jobs import states
from llmops_twins.aws.sagemaker.jobs.folders import FAILURE, JobInstance
from llmops_twins.core.jobs.job_run import Outcome

STOPPED = Outcome("Stopped")


def outcome_of(codes: list[int | None], nodes: list[JobInstance]) -> Outcome | None:
    """Returns the outcome of containers that ended by themselves: success of all, or a failure; None while
    undecided.
    """
    for code, node in zip(codes, nodes, strict=True):
        if code:
            begin, end = "AlgorithmError: ", f", exit code: {code}"
            text = _failure(node.root / FAILURE)[: states.LONGEST_REASON - len(begin + end)]
            return Outcome("Failed", "", f"{begin}{text}{end}")
    return Outcome("Completed") if all(code == 0 for code in codes) else None


def _failure(path: Path) -> str:
    try:
        if path.is_symlink():  # a container may have linked it to any file of this machine
            return ""
        with path.open("rb") as file:
            return file.read(4 * states.LONGEST_REASON).decode(errors="replace").strip()
    except OSError:
        return ""
