"""The process of a stand-in plugin: `python -m llmops_twins.plugins.CLOUD [--twin URL] [--port N] [--port-file F]`.

The engine attaches to it with PULUMI_DEBUG_PROVIDERS=NAME:PORT. Started by the engine, as an executable named
`pulumi-resource-NAME` on PATH, it gets the engine's address as its last argument and ends with the engine.
"""

import argparse
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llmops_kit.core.twins import is_loopback
from llmops_twins.core.stopping import StopSignal
from llmops_twins.plugins.plugin import Provider


def run(module: str, provider: Callable[[str], Provider[Any]]) -> None:
    """Serves the provider that `provider` creates for the twin's URL, until a signal or the parent's end."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=__doc__)
    parser.add_argument("--twin", default="", help="the twin's URL, for providers whose inputs name none")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0: a free one")
    parser.add_argument("--port-file", type=Path, help="file to which the port is written once it answers")
    parser.add_argument("engine", nargs="?", default="", help="the engine's address, passed by the engine")
    options, _ = parser.parse_known_args()  # an engine adds flags for logs and traces
    if options.twin and not is_loopback(options.twin):
        sys.exit(f"error: {options.twin} is not on this machine\n  fix: give the address of a twin")
    from llmops_twins.plugins.server import serving

    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    over = StopSignal()
    parent = os.getppid()
    try:
        with serving(provider(options.twin), options.port) as port:
            if options.port_file:
                partial = options.port_file.with_suffix(".partial")
                partial.write_text(f"{port}\n")
                partial.replace(options.port_file)
            print(port, flush=True)
            while not over.wait(0.5) and os.getppid() == parent:
                pass
    except RuntimeError as error:
        sys.exit(f"error: port {options.port} can't be opened: {error}")
