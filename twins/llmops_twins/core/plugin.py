"""Finds Pulumi's own plugin for a cloud; an installed one is used against the twin instead of the stand-in."""

import os
import shutil
from pathlib import Path


def installed(package: str) -> Path | None:
    """Returns the plugin ("aws", "azure-native") that the engine would find: on PATH, or the newest below
    $PULUMI_HOME/plugins (~/.pulumi).
    """
    executable = f"pulumi-resource-{package}"
    if found := shutil.which(executable):
        return Path(found)
    home = Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi")
    plugins = home.glob(f"plugins/resource-{package}-v*/{executable}")
    runnable = [path for path in plugins if os.access(path, os.X_OK)]
    return max(runnable, key=lambda path: path.stat().st_mtime, default=None)
