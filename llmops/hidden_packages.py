"""Other packages that hide the kit's, since some of these have ordinary names, such as `training`.

Standard library alone: it is asked before any package of the kit is imported.
"""

import importlib.util
import sys
from pathlib import Path

PACKAGES = ("clouds", "contract", "hosting", "infra", "serving", "training")
_HOME = Path(__file__).resolve().parents[1]


def hidden_by() -> list[Path]:
    """What this process would import in the place of the kit's packages; files.

    A folder without `__init__.py` hides nothing: Python takes it only where it finds no package.
    """
    found = (importlib.util.find_spec(name) for name in PACKAGES)
    origins = [Path(spec.origin).resolve() for spec in found if spec and spec.origin]
    return [origin for origin in origins if _HOME not in origin.parents]


def require_nothing_hidden() -> None:
    """End this process with the reason, if something hides a package of the kit from it."""
    if found := hidden_by():
        sys.stderr.write(
            f"error: the kit's package of the same name is hidden by {', '.join(map(str, found))}\n"
            "  fix: rename it, or take it out of PYTHONPATH or of this environment; where it is in the current "
            "folder,\n  the command `llmops` works, and `python -m llmops` does not\n"
        )
        sys.exit(2)
