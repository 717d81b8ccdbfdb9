"""`python -m bench`, `make bench`: every benchmark in turn. Each takes `--help`, alone as `python -m bench.NAME`."""

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
    """Run them; the number that failed."""
    failed = 0
    for command in COMMANDS:
        print(f"\n=== {command}", flush=True)
        name, *arguments = command.split()
        failed += subprocess.run([sys.executable, "-m", f"bench.{name}", *arguments], check=False).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())
