"""The command line of a twin's process: `python -m twins.CLOUD serve --home FOLDER`, in the foreground."""

import argparse
import logging
import sys
from collections.abc import Callable
from pathlib import Path

from contract.errors import KitError
from twins.core.twin import TwinSettings

Serve = Callable[[Path, int, TwinSettings, str, bool], None]


def main(module: str, description: str | None, place: str, first: str, serve: Callable[[], Serve]) -> None:
    """Parse the command line, and serve.

    Args:
        module: the name after `python -m`.
        description: of the command.
        place: what the cloud calls where clients are that name none: "region", "location".
        first: its default.
        serve: gives the function that serves, which is imported only now.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    verb = parser.add_subparsers(required=True).add_parser("serve", help="serve the twin of a folder until SIGTERM")
    verb.add_argument("--home", type=Path, required=True, help="the twin's folder, made when missing")
    verb.add_argument("--port", type=int, default=0, help="on 127.0.0.1; 0: any that is free")
    verb.add_argument("--judge", choices=["strict", "off"], default=TwinSettings.judge, help="of permissions")
    verb.add_argument("--pace", type=float, default=TwinSettings.pace, help="seconds that a status transition takes")
    verb.add_argument("--containers", choices=["run", "none"], default=TwinSettings.containers, help="of images")
    verb.add_argument(f"--{place}", dest="place", default=first, help="where clients are that name none")
    verb.add_argument("--no-stand-in", action="store_true", help="start no stand-in for Pulumi's plugin")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    settings = TwinSettings(judge=given.judge, pace=given.pace, containers=given.containers)
    try:
        serve()(given.home.absolute(), given.port, settings, given.place, not given.no_stand_in)
    except KitError as e:
        sys.exit(str(e))
