"""`python -m twins.aws serve --home FOLDER [--port N]`: the process of a twin."""

import argparse
import logging
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m twins.aws", description=__doc__)
    verb = parser.add_subparsers(required=True).add_parser("serve", help="serve the twin of a folder until SIGTERM")
    verb.add_argument("--home", type=Path, required=True, help="the twin's folder, made when missing")
    verb.add_argument("--port", type=int, default=0, help="on 127.0.0.1; 0: any that is free")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    from twins.aws.server import serve

    serve(arguments.home.absolute(), arguments.port)


if __name__ == "__main__":
    main()
