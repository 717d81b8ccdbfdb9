"""python -m serving serve: verify the model version, load it, answer its golden prompts, then serve.

What is slow goes on at once, hence the imports inside the functions: first the engine's process starts to import its
library, then threads hash the model's files and have them loaded, while this process imports the web server.
"""

import gc
import os
import sys

from contract.core_dumps import no_core_files
from contract.errors import KitError, ServingError, require_packages
from serving.log import say
from serving.settings import ServerSettings


def main(arguments: list[str]) -> int:
    """Run a command; the exit code: 0 after SIGTERM, 1 for a start that failed, 2 for a wrong command line."""
    no_core_files()
    gc.disable()  # a start makes no garbage: ready enables it again
    if arguments != ["serve"]:
        say(f"failed: unknown arguments {arguments} (fix: python -m serving serve)")
        return 2
    try:
        return _serve()
    except KitError as e:
        say(f"failed: {one_line(e)}")
        return 1


def _serve() -> int:
    settings = ServerSettings.from_environ(os.environ)
    require_packages("serving", "uvicorn", "uvloop", "httptools", "tokenizers", "jinja2", "prometheus_client", "numpy")
    require_engine(settings)
    from serving.engines.spawn import spawn

    worker = spawn(settings.likely_engine())
    try:
        from serving.bringup import BringUp

        bringup = BringUp(settings, worker)
        from serving.server import run

        return run(settings, bringup)
    finally:
        worker.end()


def require_engine(settings: ServerSettings) -> None:
    """See that this image has what runs the version.

    Raises:
        ServingError: the version lacks the form that it has the engine for.
        KitError: a package is missing.
    """
    if settings.likely_engine() == "openvino":
        require_packages("serving", "openvino_genai")
        return
    try:
        require_packages("serving-torch", "torch", "transformers")
    except KitError as e:
        if settings.engine != "auto":
            raise
        raise ServingError(
            f"{settings.name or 'the version'} has no OpenVINO form, and this image runs no other: {e.what}",
            where=str(settings.model),
            fix="`llmops models convert NAME@N` makes the version that has it: promote that one",
        ) from e


def one_line(error: KitError) -> str:
    """A KitError as a log's single line."""
    text = f"{error.where}: {error.what}" if error.where else error.what
    return f"{text} (fix: {error.fix})" if error.fix else text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
