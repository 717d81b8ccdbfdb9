"""`python -m twins.azure serve --home FOLDER`: the process of a twin, in the foreground."""

import argparse
import logging
import sys
from pathlib import Path

from contract.errors import KitError
from twins.common.twin import TwinSettings


def main() -> None:
    """Parse the command line, and serve."""
    parser = argparse.ArgumentParser(prog="python -m twins.azure", description=__doc__)
    verb = parser.add_subparsers(required=True).add_parser("serve", help="serve the twin of a folder until SIGTERM")
    verb.add_argument("--home", type=Path, required=True, help="the twin's folder, made when missing")
    verb.add_argument("--port", type=int, default=0, help="on 127.0.0.1; 0: any that is free")
    verb.add_argument("--judge", choices=["strict", "off"], default=TwinSettings.judge, help="of permissions")
    verb.add_argument("--pace", type=float, default=TwinSettings.pace, help="seconds that a status transition takes")
    verb.add_argument("--containers", choices=["run", "none"], default=TwinSettings.containers, help="of images")
    verb.add_argument("--location", default="westeurope", help="that `status` and `env` tell of")
    verb.add_argument("--no-stand-in", action="store_true", help="start no stand-in for Pulumi's plugin")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    from twins.azure.server import serve

    settings = TwinSettings(judge=given.judge, pace=given.pace, containers=given.containers)
    try:
        serve(given.home.absolute(), given.port, settings, given.location, stand_in=not given.no_stand_in)
    except KitError as e:
        sys.exit(str(e))


if __name__ == "__main__":
    main()
