"""Is Pulumi's own plugin for AWS installed here? Then it is used against the twin, and no stand-in."""

import os
import shutil
from pathlib import Path

_EXECUTABLE = "pulumi-resource-aws"


def installed() -> Path | None:
    """The plugin that the engine would find: on PATH, or the newest below $PULUMI_HOME/plugins (~/.pulumi)."""
    if found := shutil.which(_EXECUTABLE):
        return Path(found)
    home = Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi")
    installed = [path for path in home.glob(f"plugins/resource-aws-v*/{_EXECUTABLE}") if os.access(path, os.X_OK)]
    return max(installed, key=lambda path: path.stat().st_mtime, default=None)
