"""`python -m twins.providers.aws [--twin URL] [--port N] [--port-file F]`: serve the stand-in, and print its port.

The engine attaches to it with PULUMI_DEBUG_PROVIDERS=aws:PORT. Started by the engine, as an executable named
`pulumi-resource-aws` on PATH, it gets the engine's address as its last argument and ends with the engine.
"""

import argparse
import logging
import os
import signal
import sys
import threading
from pathlib import Path

from contract.twin import is_loopback


def main() -> None:
    """Serve until a signal, or until the process that started it is gone."""
    parser = argparse.ArgumentParser(prog="python -m twins.providers.aws", description=__doc__)
    parser.add_argument("--twin", default="", help="the twin's URL, where a provider's own inputs name none")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--port-file", type=Path, help="the port is also written here, once it answers")
    parser.add_argument("engine", nargs="?", default="", help="the engine's address, as the engine gives it")
    options, _ = parser.parse_known_args()  # an engine adds flags for logs and traces
    if options.twin and not is_loopback(options.twin):
        sys.exit(f"error: {options.twin} is not on this machine\n  way out: give the address of a twin")
    from twins.providers.aws.provider import AwsProvider
    from twins.providers.server import serving

    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())
    parent = os.getppid()
    try:
        with serving(AwsProvider(options.twin), options.port) as port:
            if options.port_file:
                partial = options.port_file.with_suffix(".partial")
                partial.write_text(f"{port}\n")
                partial.replace(options.port_file)
            print(port, flush=True)
            while not over.wait(0.5) and os.getppid() == parent:
                pass
    except RuntimeError as error:
        sys.exit(f"error: port {options.port} can't be had: {error}")


if __name__ == "__main__":
    main()
