"""`python -m llmops_kit.training.keras_trainer`: the trainer's job, in the image training-tensorflow."""

import os

from llmops_kit.core.errors import KitError, require_packages
from llmops_kit.core.programs import tell_error
from llmops_kit.training.entry import end_program, enter_job
from llmops_kit.training.process import prepare_process


def main() -> int:
    """Runs the job; returns its exit code."""
    try:
        enter_job(os.environ)
        prepare_process()
        require_packages("training-tensorflow", "tensorflow", "keras", "keras_hub", "transformers", "trl")
    except KitError as e:
        tell_error(e)
        return 1
    from llmops_kit.training.keras_trainer.job import run_job

    return run_job(os.environ)


if __name__ == "__main__":
    end_program(main())
