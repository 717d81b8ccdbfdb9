"""Rows per second of `data.prepare` with near duplicates alone, to those of a bare MinHash deduplication on Daft.

Both read the same JSON lines on the same processors, each in a process of its own, from start to written files. The
bare one checks no row and no real similarity, and splits nothing.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from contract.documents.recipe import Recipe
from llmops.data.collect import collect

_WORDS, _LONGEST, _SHARE_ALIKE, _EDITS = 5000, (40, 120), 0.2, 0.03
_BARE = """\
import sys
import daft
import numpy as np
from daft import DataType, col

@daft.func.batch(return_dtype=DataType.list(DataType.binary()))
def bands(signatures):
    table = np.array(signatures.to_pylist(), dtype=np.uint32).reshape(-1, 32, 4)
    return [[bytes([band]) + row[band].tobytes() for band in range(32)] for row in table]

docs = daft.read_json(sys.argv[1])._add_monotonically_increasing_id("id").collect()
text = col("text").normalize(remove_punct=True, lowercase=True, nfd_unicode=True, white_space=True)
signed = docs.select("id", bands(text.minhash(num_hashes=128, ngram_size=5)).alias("band")).explode("band")
groups = signed.groupby("band").agg(col("id").min().alias("first"), col("id").list_agg())
alike = groups.explode("id").where(col("id") != col("first")).select("id").distinct()
docs.join(alike, on="id", how="anti").select("text").write_parquet(sys.argv[2], compression="zstd")
"""


def main() -> int:
    """Measure, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--processors", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        _write_rows(folder / "rows.jsonl", options.rows)
        recipe = Recipe.new(
            name="rows",
            base_model={"name": "base", "source": "folder:base"},
            data={"sources": [{"source": "rows.jsonl"}], "prepare": {"near_duplicates": 0.7}},
            training={"method": "pretrain"},
            evaluation={"suites": [{"name": "all", "split": "train"}]},
        )
        recipe.write(folder / "recipe.json")
        collect(recipe.data.sources, folder, folder / "collected", secret=str, say=lambda _: None)
        for count in options.processors:
            bare = _run(count, "-c", _BARE, folder / "rows.jsonl", folder / f"bare-{count}")
            paths = (folder / "recipe.json", folder / "collected", folder / f"ours-{count}")
            kept = ("--root", folder, "--work", folder / f"stages-{count}", "--workers", str(count))
            ours = _run(count, "-m", "preparation", *paths, *kept)
            print(
                json.dumps(
                    {
                        "processors": count,
                        "rows": options.rows,
                        "bare_rows_per_s": round(options.rows / bare[0]),
                        "ours_rows_per_s": round(options.rows / ours[0]),
                        "ratio": round(bare[0] / ours[0], 2),
                        "ratio_of_processor_time": round(bare[1] / ours[1], 2),
                    }
                ),
                flush=True,
            )
    return 0


def _run(processors: int, *arguments: "str | Path") -> tuple[float, float]:
    """Seconds, and seconds of processors, of a Python process on so many processors."""
    chosen = sorted(os.sched_getaffinity(0))[:processors]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | {"DAFT_ANALYTICS_ENABLED": "0", "DAFT_PROGRESS_BAR": "0", "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: os.sched_setaffinity(0, chosen),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stdout[-2000:] + done.stderr[-2000:])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.monotonic() - start, used


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
