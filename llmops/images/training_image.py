"""Programs of the training image on the caller's machine, whatever the stack's target: it runs as a process here."""

import subprocess
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from contract.errors import KitError

Finished = subprocess.CompletedProcess[str]


def run_in_training_image(
    *arguments: str, label: str, work: Path, say: Callable[[str], None], extra: Mapping[str, str] | None = None
) -> Finished:
    """Run a Python command in the training image's environment, which is built first if it is not there.

    Args:
        arguments: of the image's Python.
        label: put before each line of its output.
        work: stands for the root folder of a container.
        say: told each line. Whatever it raises ends the process, as Ctrl-C does.
        extra: further variables of its environment.

    Returns:
        Its exit code, and what it wrote to stderr.
    """
    from hosting import images

    image = images.find(images.build("training", say))
    process = subprocess.Popen(
        [image.python, *arguments],
        env=images.process_environ(image, work, extra=extra),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with ThreadPoolExecutor(1) as pool, process:
        assert process.stdout
        assert process.stderr
        errors = pool.submit(process.stderr.read)
        try:
            for line in process.stdout:
                say(f"{label}: {line.strip()}")
        except BaseException:
            process.kill()
            raise
        return subprocess.CompletedProcess(arguments, process.wait(), "", errors.result())


def failure(finished: Finished, what: str) -> KitError:
    """The error that a program of the image ended with; `what` is said where it left no reason."""
    reason, _, fix = finished.stderr.partition("error: ")[2].strip().partition("\n  fix: ")
    return KitError(
        reason or f"{what}: {finished.stderr.strip()[-500:]}",
        fix=fix or "see the model's files; `llmops doctor` checks this machine",
    )
