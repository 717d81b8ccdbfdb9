"""`python -m bench`, `make bench`: runs every benchmark in turn. `python -m bench.NAME --help` shows the options of
one.
"""

import subprocess
import sys

COMMANDS = (
    "merge",
    "overload",
    "prepare",
    "preview",
    "router",
    "serving",
    "training",
    "training_tensorflow",
    "twin",
    "azure_twin",
)


def main() -> int:
    """Runs the benchmarks; returns the number of failed ones."""
    failed = 0
    for command in COMMANDS:
        print(f"\n=== {command}", flush=True)
        name, *arguments = command.split()
        failed += subprocess.run([sys.executable, "-m", f"bench.{name}", *arguments], check=False).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())
