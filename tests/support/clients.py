"""The environment of a twin's clients that run the kit."""

import sys
from collections.abc import Mapping

from llmops_kit.cli.pulumi_engine.engine import ensure
from twins.tests.support import processes


def client_environ(changed: Mapping[str, str | None]) -> dict[str, str]:
    """Returns this process's environment with the engine, as `llmops twin CLOUD env` changes it; None: unset."""
    return processes.client_environ({**engine_environ(), **changed})


def engine_environ() -> dict[str, str]:
    """Returns what a process that runs the engine has in its environment besides this one's."""
    return {**ensure().env, "PULUMI_SKIP_UPDATE_CHECK": "1", "VIRTUAL_ENV": sys.prefix}
