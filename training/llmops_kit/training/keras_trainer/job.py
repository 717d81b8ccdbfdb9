"""The first of the two jobs of a run with `framework: tensorflow`: trains, and writes a plain Hugging Face folder.

The second job, in the PyTorch image, checks that folder, evaluates, packages, and writes the version's manifest.
"""

import json
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

from llmops_kit.core.documents.model import TrainingFacts
from llmops_kit.core.errors import RunError
from llmops_kit.core.layout import TRAINER_FACTS, TrainingFolders
from llmops_kit.core.models.gpus import VISIBLE
from llmops_kit.training import checkpoints
from llmops_kit.training.checkpoint_folders import RESULT, cleared
from llmops_kit.training.hosts import read_place
from llmops_kit.training.job import check_inputs, end_reported, read_spec, split_files, state_folder
from llmops_kit.training.process import say
from llmops_kit.training.ranks import Alone
from llmops_kit.training.stopping import StopRequest


def run_job(environ: Mapping[str, str]) -> int:
    """Runs the job in this container's folders.

    Returns:
        The exit code: 0 with a trained model, 1 failed, 3 diverged, 143 stopped.
    """
    folders = TrainingFolders.of(environ)
    folders.failure.unlink(missing_ok=True)

    def work(stop: StopRequest) -> int:
        _train(folders, environ, stop)
        return 0

    return end_reported(work, folders, Alone())


def _train(folders: TrainingFolders, environ: Mapping[str, str], stop: StopRequest) -> None:
    began = time.monotonic()
    say(stage="check_inputs")
    spec = read_spec(folders.spec)
    # Hides GPUs from `read_place`, which would import torch to count them.
    if len(hosts := read_place(folders, {**environ, VISIBLE: "-1"}).hosts) > 1:
        raise RunError(
            f"the TensorFlow trainer works on one host, and this job has {len(hosts)}: Keras trains on several with "
            "wrong results (https://github.com/keras-team/keras/issues/20585)",
            where="training.framework",
            fix="train with `--instances 1`, or leave training.framework out, so that PyTorch trains",
        )
    base, dataset = folders.channel("base_model"), folders.channel("dataset")
    check_inputs(spec, base, dataset)
    stop.check()
    say(stage="train")
    from llmops_kit.training.keras_trainer.devices import prepare_tensorflow

    options = spec.recipe.training
    prepare_tensorflow(environ, options.threads)
    from llmops_kit.training.keras_trainer.finetune import finetune

    splits = split_files(dataset)
    state = state_folder(folders, spec)
    with stop.at_a_step():
        facts = finetune(
            base,
            splits["train"],
            options,
            spec.recipe.serving.system_prompt,
            state,
            lambda: stop.asked,
            splits.get("validation"),
        )
    _leave(state / RESULT, folders.model, facts)
    say(stage="done", seconds=round(time.monotonic() - began, 1))


def _leave(trained: Path, target: Path, facts: TrainingFacts) -> None:
    """Copies the trained model to the folder that the second job gets."""
    shutil.copytree(trained, cleared(target), ignore=shutil.ignore_patterns(checkpoints.MARKER), dirs_exist_ok=True)
    (target / TRAINER_FACTS).write_text(json.dumps(facts.model_dump(), indent=2) + "\n")
