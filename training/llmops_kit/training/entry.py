"""First and last steps of the training images' programs, for all trainers."""

import os
import sys
from collections.abc import MutableMapping
from typing import NoReturn

from llmops_kit.training.hosts import keep_nodes
from llmops_kit.training.privileges import give_up_root
from llmops_kit.training.process import forget_other_launchers


def enter_job(environ: MutableMapping[str, str]) -> None:
    """Prepares the first process of a job: drops root, keeps the platform's nodes, and removes the variables of other
    launchers from this process's environment.

    Raises:
        KitError: a folder can't be given to the job's user.
    """
    give_up_root(environ)
    keep_nodes(environ)
    forget_other_launchers()


def end_program(code: int) -> NoReturn:
    """Ends the process with an exit code once its output is written, without the libraries' own clean-up.

    Freeing torch's objects one by one takes 1.5 s of processor time, and TensorFlow's threads need no wait.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
