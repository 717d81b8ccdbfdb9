"""Started in place of a suite's own program, confined: `python -I score_rows.py PROGRAM ROWS SCORES`.

The program is a Python file with a function `score`; rows are JSON lines, and the scores a JSON list. This file runs
from a copy, and imports nothing of the kit.
"""

import json
import runpy
import sys
from pathlib import Path


def main(program: str, rows: str, scores: str) -> None:
    """Calls the program's `score` with each row, and lets its errors end this process."""
    score = runpy.run_path(program)["score"]
    with Path(rows).open(encoding="utf-8") as lines:
        found = [float(score(json.loads(line))) for line in lines]
    Path(scores).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
