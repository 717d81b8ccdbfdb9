"""Runs programs of images on the caller's machine, whatever the stack's target: an image runs as a process here."""

from collections.abc import Callable, Mapping
from pathlib import Path

from llmops_kit.core.programs import run_program

_FIX = "check the files that it was given; `llmops doctor` checks this machine"


def run_in_image(
    image: str,
    *arguments: str | Path,
    work: Path,
    say: Callable[[str], None],
    what: str,
    label: str = "",
    fix: str = _FIX,
    extra: Mapping[str, str] | None = None,
) -> None:
    """Runs a Python command in an image's environment, which is built first if it is missing.

    Args:
        image: training, preparation or preparation-ray.
        arguments: of the image's Python.
        work: used as the root folder of a container.
        say: called with each line. An exception from it ends the process, as Ctrl-C does.
        what: message for a failure for which the program gave no reason.
        label: prefix of each line of its output.
        fix: fix for such a failure.
        extra: additional variables of its environment.

    Raises:
        KitError: the program's own error; or it ended without a message.
    """
    from llmops_kit.local_runtime import process_images

    built = process_images.find(process_images.build(image, say))
    run_program(
        [built.python, *arguments],
        process_images.process_environ(built, work, extra=extra),
        lambda line: say(f"{label}: {line}" if label else line),
        what=what,
        fix=fix,
    )
