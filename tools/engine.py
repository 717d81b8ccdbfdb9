"""`python -m tools.engine`: finds or installs Pulumi's engine as the kit does, and prints progress for `tools.steps`.

Standard library only: it runs concurrently with the installation of the kit's packages.
"""

import sys

from llmops_kit.cli.pulumi_engine.engine import obtain
from llmops_kit.core.errors import KitError
from tools.steps import NOTE


def main() -> None:
    """Finds or installs the engine; exits with a message if that is impossible."""
    try:
        print(obtain(_report))
    except KitError as e:
        sys.exit(str(e))
    except KeyboardInterrupt:
        sys.exit(130)


def _report(line: str) -> None:
    step, _, detail = line.partition(": ")
    print(detail if detail and step else f"{NOTE}{line}", end="\r" if detail and step else "\n", flush=True)


if __name__ == "__main__":
    main()
