"""`python -m llmops.engine`: find or get the engine; print the folder for PATH, or nothing if PATH has it already."""

import sys

from contract.errors import KitError
from llmops.engine import ensure
from llmops.engine.install import print_progress

try:
    engine = ensure(print_progress)
except KitError as error:
    sys.exit(f"error: {error}")
except KeyboardInterrupt:
    sys.exit("\nstopped; the next start begins the engine's build again, and takes what Go has cached")
if engine.own:
    print(engine.pulumi.parent)
