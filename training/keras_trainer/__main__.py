"""`python -m training.keras_trainer`: the trainer's job, in the image training-tensorflow."""

import os
import sys

from contract.errors import KitError, require_packages
from contract.programs import tell_error
from training.hosts import keep_nodes
from training.privileges import give_up_root
from training.process import forget_other_launchers, prepare_process


def main() -> int:
    """Runs the job; returns its exit code."""
    try:
        give_up_root(os.environ)
        keep_nodes(os.environ)
        forget_other_launchers()
        prepare_process()
        require_packages("training-tensorflow", "tensorflow", "keras", "keras_hub", "transformers", "trl")
    except KitError as e:
        tell_error(e)
        return 1
    from training.keras_trainer.job import run_job

    return run_job(os.environ)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # All is written, and TensorFlow's threads need not be waited for.
    os._exit(code)
