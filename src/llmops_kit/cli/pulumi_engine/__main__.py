"""`python -m llmops_kit.cli.pulumi_engine`: find or get the engine; print its folder unless PATH has it."""

import sys

from llmops_kit.cli.pulumi_engine.engine import engine_home, ensure
from llmops_kit.cli.pulumi_engine.host_folder import path_folder
from llmops_kit.cli.pulumi_engine.install import print_progress
from llmops_kit.core.errors import KitError

try:
    engine = ensure(print_progress)
except KitError as error:
    sys.exit(f"error: {error}")
except KeyboardInterrupt:
    sys.exit("\nstopped; the next start begins the engine's build again, and takes what Go has cached")
if engine.own:
    print(path_folder(engine_home()))
