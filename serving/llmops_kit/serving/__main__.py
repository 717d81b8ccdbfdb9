"""python -m llmops_kit.serving serve: verify the model version, load it, answer its golden prompts, then serve.

With --explain it prints which engine would serve, and why, and exits.

Imports are inside the functions, so that slow work runs in parallel: first the engine's process starts to import its
library, then threads hash the model's files and have them loaded, while this process imports the web server.
"""

import gc
import os
import sys

from llmops_kit.core.core_dumps import no_core_files
from llmops_kit.core.engines.records import ENGINES
from llmops_kit.core.errors import KitError, require_packages
from llmops_kit.serving.engine_choice import EngineChoice, choose_engine
from llmops_kit.serving.log import say
from llmops_kit.serving.server_settings import ServerSettings

_EXPLAIN = ["serve", "--explain"]
# Packages that the server of every engine needs.
_PACKAGES = ("uvicorn", "uvloop", "httptools", "tokenizers", "jinja2", "prometheus_client", "numpy")


def main(arguments: list[str]) -> int:
    """Runs a command; returns the exit code: 0 after SIGTERM, 1 for a failed start, 2 for a wrong command line."""
    no_core_files()
    gc.disable()  # a start creates no garbage; `ready` enables it again
    if arguments not in (["serve"], _EXPLAIN):
        say(f"failed: unknown arguments {arguments} (fix: python -m llmops_kit.serving serve [--explain])")
        return 2
    try:
        settings = ServerSettings.from_environ(os.environ)
        require_packages("serving", *_PACKAGES)
        choice = choose_engine(settings.engine, settings.likely_forms(), os.environ)
        say(f"engine {choice.engine}: {choice.why}")
        if arguments == _EXPLAIN:
            _explain(settings, choice)
            return 0
        return _serve(settings, choice)
    except KitError as e:
        say(f"failed: {one_line(e)}")
        return 1


def _explain(settings: ServerSettings, choice: EngineChoice) -> None:
    if choice.engine == "vllm":
        from llmops_kit.serving.engines.vllm_gpus import choose_for_folder

        gpus = choose_for_folder(settings.model, settings.engine_settings.precision, os.environ)
        say(f"GPUs {gpus.gpus}: {gpus.why}")


def _serve(settings: ServerSettings, choice: EngineChoice) -> int:
    record = ENGINES[choice.engine]
    require_packages(record.image, *record.packages)
    if choice.engine == "vllm":
        from llmops_kit.serving.vllm_server import run as run_vllm

        return run_vllm(settings)
    from llmops_kit.serving.engines.spawn import spawn

    worker = spawn(choice.engine)
    try:
        from llmops_kit.serving.bringup import BringUp

        bringup = BringUp(settings, worker)
        from llmops_kit.serving.server import run

        return run(settings, bringup)
    finally:
        worker.end()


def one_line(error: KitError) -> str:
    """Returns a KitError as a single log line."""
    text = f"{error.where}: {error.what}" if error.where else error.what
    return f"{text} (fix: {error.fix})" if error.fix else text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
