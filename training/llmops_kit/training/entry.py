"""What the training images' programs do first and last, whichever trainer they run."""

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
    """Ends the process with an exit code once its output is written, without taking the libraries apart.

    Freeing torch's objects one by one costs 1.5 s of processor time, and TensorFlow's threads need not be waited for.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
