"""Rows per second of `data.prepare` with near duplicates only, against bare Daft and Ray Data.

All read the same JSON lines on the same processors, each in its own process, from start to written files.
`bench.dedupe_daft` finds candidates by the same bands, and groups them, but checks neither rows nor exact similarities,
and makes no splits. `bench.dedupe_ray` applies the same rules, and makes no splits; it runs in this environment,
because Ray Data needs pandas, which the image lacks.

The programs take turns, and the fastest run of each counts, as timeit's documentation advises: slower ones only show
other load of the machine.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from llmops_kit.cli.data.collect import collect
from llmops_kit.core.documents.recipe import Recipe
from llmops_kit.local_runtime import process_images

_WORDS, _LONGEST, _SHARE_ALIKE, _EDITS = 5000, (40, 120), 0.2, 0.03
_CHECKOUT = Path(__file__).resolve().parents[1]


def main() -> int:
    """Measures, and prints JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[60_000, 240_000])
    parser.add_argument("--ray", action="store_true", help="Compare with Ray Data too.")
    parser.add_argument("--processors", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--turns", type=int, default=3, help="How often each program runs. [default: 3]")
    options = parser.parse_args()
    for rows in options.rows:
        with tempfile.TemporaryDirectory() as folder:
            _measure(Path(folder), rows, options)
    return 0


def _measure(folder: Path, count: int, options: argparse.Namespace) -> None:
    rows = folder / "rows.jsonl"
    _write_rows(rows, count)
    recipe = Recipe.new(
        name="rows",
        base_model={"name": "base", "source": "folder:base"},
        data={"sources": [{"source": rows.name}], "prepare": {"near_duplicates": 0.7}},
        training={"method": "pretrain"},
        evaluation={"suites": [{"name": "all", "split": "train"}]},
    )
    recipe.write(folder / "recipe.json")
    collect(recipe.data.sources, folder, folder / "collected", secret=str, say=lambda _: None)
    image = process_images.find(process_images.build("preparation", lambda line: print(line, file=sys.stderr)))
    for number in options.processors:
        runs: dict[str, list[float]] = {}
        for turn in range(options.turns):
            made = folder / f"{number}-{turn}"
            ours = (folder / "recipe.json", folder / "collected", made / "ours")
            kept = ("--root", folder, "--work", made / "stages", "--workers", str(number))
            runs.setdefault("ours", []).append(_run(image.python, number, image.program, *ours, *kept))
            runs.setdefault("daft", []).append(_run(image.python, number, "bench.dedupe_daft", rows, made / "daft"))
            if options.ray:
                arguments = (folder / "recipe.json", rows, made / "ray", str(number))
                runs.setdefault("ray", []).append(_run(Path(sys.executable), number, "bench.dedupe_ray", *arguments))
            shutil.rmtree(made)
        print(json.dumps({"processors": number, "rows": count, **_compared(count, runs)}), flush=True)


def _compared(count: int, runs: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Returns rows per second of each program's fastest run, and the ratios of ours to the others'."""
    seconds = {name: min(each) for name, each in runs.items()}
    found: dict[str, float] = {"rows_per_s": round(count / seconds["ours"])}
    for name in sorted(runs.keys() - {"ours"}):
        found[f"{name}_rows_per_s"] = round(count / seconds[name])
        found[f"ratio_to_{name}"] = round(seconds[name] / seconds["ours"], 2)
    return found


def _run(python: Path, processors: int, module: str, *arguments: "str | Path") -> float:
    """Returns the seconds that a module takes on a number of processors."""
    chosen = sorted(os.sched_getaffinity(0))[:processors]
    start = time.monotonic()
    done = subprocess.run(
        [python, "-m", module, *arguments],
        cwd=_CHECKOUT,
        env={
            "PATH": f"{python.parent}:/usr/bin:/bin",
            "HOME": os.environ["HOME"],
            "DAFT_ANALYTICS_ENABLED": "0",
            "DAFT_PROGRESS_BAR": "0",
            "OMP_NUM_THREADS": "1",
            "RAY_USAGE_STATS_ENABLED": "0",
        },
        preexec_fn=lambda: os.sched_setaffinity(0, chosen),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stdout[-2000:] + done.stderr[-2000:])
    return time.monotonic() - start


def _write_rows(path: Path, count: int) -> None:
    draw = random.Random(1)
    words = ["".join(draw.choices("abcdefghij", k=draw.randint(2, 9))) for _ in range(_WORDS)]
    unlike = round(count * (1 - _SHARE_ALIKE))
    texts = [draw.choices(words, k=draw.randint(*_LONGEST)) for _ in range(unlike)]
    for original in draw.sample(texts, count - unlike):
        edited = list(original)
        for at in draw.sample(range(len(edited)), max(1, round(_EDITS * len(edited)))):
            edited[at] = draw.choice(words)
        texts.append(edited)
    draw.shuffle(texts)
    path.write_text("".join(json.dumps({"text": " ".join(text)}) + "\n" for text in texts))


if __name__ == "__main__":
    sys.exit(main())
