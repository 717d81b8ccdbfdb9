"""Plugins of the engine on this machine, found without starting the engine."""

import os
import shutil
from pathlib import Path


def installed_plugin(name: str) -> Path | None:
    """Finds a provider's plugin as the engine does: on PATH, or the newest in $PULUMI_HOME/plugins (~/.pulumi)."""
    executable = f"pulumi-resource-{name}"
    if found := shutil.which(executable):
        return Path(found)
    home = Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi")
    there = [p for p in home.glob(f"plugins/resource-{name}-v*/{executable}") if os.access(p, os.X_OK)]
    return max(there, key=lambda path: path.stat().st_mtime, default=None)
