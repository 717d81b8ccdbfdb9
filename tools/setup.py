"""`python -m tools.setup SET|engine`: installs a set of packages into .venv, or Pulumi's engine if missing; as steps.

`tools/setup.sh` starts it with the Python that it found. LLMOPS_SETUP_ENGINE=yes installs the engine concurrently with
the packages. LLMOPS_SETUP_FOR=demo leaves total and hint to the demo. Standard library only.
"""

import os
import re
import sys
import time
from pathlib import Path

from tools.steps import Step, StepFailedError, Steps

CHECKOUT = Path(__file__).resolve().parents[1]
LOG = CHECKOUT / ".llmops" / "setup.log"
HINT = CHECKOUT / ".llmops" / "setup.hint"
"""Hint that `make demo` prints at its end."""
_ENGINE = Step(
    "Pulumi's engine",
    [sys.executable, "-m", "tools.engine"],
    detail=lambda line: re.sub(r", \d+:\d\d$", "", line),  # a step shows its time
)


def main(wanted: str) -> int:
    """Runs the set-up; returns the exit code."""
    began = time.monotonic()
    try:
        if wanted == "engine":
            _find_engine()
            return 0
        # PYTHONPATH only serves to find the engine from a bare Python.
        environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        command = [CHECKOUT / "tools" / "setup.sh", "install", wanted]
        packages = Step(f"Python packages ({wanted})", command, environ)
        beside = [_ENGINE] if os.environ.get("LLMOPS_SETUP_ENGINE") else []
        Steps(LOG, CHECKOUT).run(packages, *beside)
    except StepFailedError as e:
        print(e, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the same command resumes here: downloads are kept", file=sys.stderr)
        return 130
    _close(time.monotonic() - began)
    return 0


def _find_engine() -> None:
    """Installs the engine if there is none, and makes .venv/bin/activate put it on PATH."""
    from llmops_kit.cli.pulumi_engine.engine import engine_home, find
    from llmops_kit.cli.pulumi_engine.host_folder import path_folder
    from tools.activate import activate

    found = find()
    if found is None:
        Steps(LOG, CHECKOUT).run(_ENGINE)
        found = find()
    assert found, "the step has got it"
    activate(CHECKOUT / ".venv/bin/activate", str(path_folder(engine_home())) if found.own else "")


def _close(seconds: float) -> None:
    hint = os.environ.get("LLMOPS_SETUP_HINT", "")
    if os.environ.get("LLMOPS_SETUP_FOR"):
        HINT.write_text(hint)
        return
    print(f"  {'set up in':<32}{seconds:8.1f} s")
    if hint:
        print(hint)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
