"""Programs of images, run as subprocesses: progress on stdout, errors on stderr.

A program that fails prints its error as the last line of JSON on stderr: {"error": "DataError", "what": …, "where": …,
"fix": …}. Libraries may print what they like before it.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import llmops_kit
from llmops_kit.core import errors
from llmops_kit.core.errors import KitError

_LAST_LINES = 15


def tell_error(error: KitError) -> None:
    """Print the error that ends this program, for `run_program`."""
    fields = {"error": type(error).__name__, "what": error.what, "where": error.where, "fix": error.fix}
    print(json.dumps(fields, ensure_ascii=False), file=sys.stderr, flush=True)


def run_program(
    command: Sequence[str | Path], environ: Mapping[str, str], say: Callable[[str], None], *, what: str, fix: str
) -> None:
    """Run a program of an image to its end.

    Args:
        command: its first word is an interpreter of the image.
        environ: its complete environment.
        say: called with each line of its output. An exception in it ends the program, as Ctrl-C does.
        what: message for a failure without a reason, such as "preparing failed".
        fix: of such a failure.

    Raises:
        KitError: the program's own error; or it ended without one.
    """
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(
            command,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            encoding="utf-8",
            errors="replace",
        ) as process,
    ):
        assert process.stdout
        try:
            for line in process.stdout:
                say(line.strip())
        except BaseException:
            process.kill()
            process.wait()  # after a KeyboardInterrupt, Popen itself waits only for a quarter of a second
            raise
        if not (code := process.wait()):
            return
        log.seek(0)
        raise _error(log.read().decode(errors="replace").splitlines(), f"{what} with exit code {code}", fix)


def _error(lines: Sequence[str], what: str, fix: str) -> KitError:
    for line in reversed(lines):
        try:
            found = json.loads(line)
            kind = getattr(errors, found["error"])
            if issubclass(kind, KitError):
                return kind(str(found["what"]), where=str(found["where"]), fix=str(found["fix"]))
        except (ValueError, KeyError, TypeError, AttributeError):  # a library that prints
            continue
    last = "\n  ".join(line for line in lines[-_LAST_LINES:] if line.strip())
    return KitError(f"{what}:\n  {last}" if last else what, fix=fix)


def package_folder(name: str) -> Path:
    """Returns the folder of a package below llmops_kit, such as `training`.

    Raises:
        FileNotFoundError: it is not installed here.
    """
    for portion in llmops_kit.__path__:
        if (Path(portion, name) / "__init__.py").is_file():  # a folder of data may have the same name
            return Path(portion, name).resolve()
    raise FileNotFoundError(f"llmops_kit.{name}")


def import_path() -> str:
    """Returns the value of PYTHONPATH by which another process imports the packages that this one has.

    The value doesn't depend on order and duplicates in sys.path, because a program that is started with it is replaced
    when it changes.
    """
    return os.pathsep.join(sorted({str(Path(portion).resolve().parent) for portion in llmops_kit.__path__}))
