"""`python -m bench`, `make bench`: every benchmark in turn. Each takes `--help`, alone as `python -m bench.NAME`."""

import subprocess
import sys

NAMES = ("preview", "router", "serving", "aws", "twin")


def main() -> int:
    """Run them; the number that failed."""
    failed = 0
    for name in NAMES:
        print(f"\n=== {name}", flush=True)
        failed += subprocess.run([sys.executable, "-m", f"bench.{name}"], check=False).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())
