"""Puts an SBOM into the wheel by PEP 770: `.dist-info/sboms/llmops-kit.cdx.json`."""

import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class SbomHook(BuildHookInterface[Any]):
    """Hatchling's build hook: writes the SBOM from the lock of the packages that the kit is tested with."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before the wheel is written; `version` is `editable` for a link to this checkout."""
        if version == "editable":
            return
        sys.path[:0] = [str(Path(self.root, portion)) for portion in ("src", "hosting")]
        from llmops_kit.cli.images.sbom import of_wheel

        self._folder = tempfile.TemporaryDirectory(prefix="llmops-sbom-")  # it goes with this hook
        path = Path(self._folder.name, "llmops-kit.cdx.json")
        path.write_text(of_wheel(Path(self.root, "requirements", "kit.txt")))
        build_data["sbom_files"].append(str(path))
