"""Evaluate a version as a job does after training. Prints JSON; run in the training image.

python asked.py ROOT   the root of a job's container, whose base model stands for the trained one
    -> {"computed": dtype of the logits at each time that a suite was asked, "golden": how many were asked again}
"""

import json
import shutil
import sys
from pathlib import Path

from llmops_kit.training.process import prepare_process

prepare_process()

import torch  # noqa: E402

from llmops_kit.core.layout import TrainingFolders  # noqa: E402
from llmops_kit.training import job  # noqa: E402
from llmops_kit.training.evaluation.scoring import load_suites  # noqa: E402
from llmops_kit.training.ranks import Alone  # noqa: E402
from llmops_kit.training.stopping import StopRequest  # noqa: E402

computed: list[str] = []
run_suite = job.run_suite


def note(model, *arguments):
    """Ask, and keep what the model computes in."""
    computed.append(str(model(torch.tensor([[1]], device=model.device)).logits.dtype))
    return run_suite(model, *arguments)


def main(root: Path) -> None:
    """Evaluate, every answer being taken as right."""
    job.run_suite = note
    job.to_ask_again = lambda suite, rows, scores: rows
    training = job.TrainingJob(TrainingFolders(root), Alone(), StopRequest())
    training.suites = load_suites(training.recipe.evaluation.suites, training.dataset)
    shutil.copytree(training.base, training.folders.model)
    found = training._evaluate("after")
    print(json.dumps({"computed": computed, "golden": len(found["golden"])}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
