"""The environment of a twin's clients."""

import os
import sys
from collections.abc import Mapping

from llmops.pulumi_engine.engine import ensure


def client_environ(changed: Mapping[str, str | None]) -> dict[str, str]:
    """This process's environment with the engine, as `llmops twin CLOUD env` changes it; None: unset."""
    environ = dict(os.environ) | ensure().env | {"PULUMI_SKIP_UPDATE_CHECK": "1", "VIRTUAL_ENV": sys.prefix}
    for name, value in changed.items():
        if value is None:
            environ.pop(name, None)
        else:
            environ[name] = value
    return environ
