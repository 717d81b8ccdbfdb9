"""The rules of `data.prepare` as a pipeline of Ray Data, for `bench.prepare`.

Rows are checked, digested and hashed in Ray's workers, by the code of data_pipeline; rows are compared in the driver,
which is quicker than Ray's shuffles; Ray fetches the texts of candidates, and writes the kept rows.

python -m bench.dedupe_ray RECIPE ROWS TARGET PROCESSORS
"""

import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import ray.data

from llmops_kit.core.documents.recipe import Recipe
from llmops_kit.data_pipeline import near_duplicates
from llmops_kit.data_pipeline.examine import RowRules
from llmops_kit.data_pipeline.shingles import similarities


class _Rules:
    def __init__(self, recipe: str) -> None:
        data = Recipe.load(Path(recipe)).data
        self.rules, self.bands = RowRules(data), near_duplicates.bands_for(data.prepare.near_duplicates)

    def __call__(self, batch: pa.Table) -> pa.Table:
        said = [self.rules.examine(line, "") for line in batch["text"].to_pylist()]
        keys = near_duplicates.keys_of(pa.array([each.words for each in said]), self.bands)
        columns = [batch["number"], [each.line for each in said], [each.words for each in said], keys]
        digests = [each.prompt + each.answers for each in said]
        return pa.table([*columns, digests], names=["number", "line", "words", "keys", "digests"])


def main(recipe: str, rows: str, target: str, processors: str) -> None:
    """Reads JSON lines, and writes those that are kept."""
    # The pool of `_Rules` reserves its processors, and its input needs one more. The process's affinity still limits
    # it.
    ray.init(
        "local", num_cpus=int(processors) + 1, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR
    )
    threshold = Recipe.load(Path(recipe)).data.prepare.near_duplicates
    lines = Path(rows).read_text().splitlines()
    read = ray.data.from_arrow(pa.table({"number": np.arange(len(lines)), "text": lines})).repartition(8)
    examined = read.map_batches(
        _Rules, fn_constructor_args=(recipe,), batch_format="pyarrow", batch_size=512, concurrency=int(processors)
    ).materialize()
    compared = _fetch(examined.select_columns(["number", "keys", "digests"])).sort_by("number")
    numbers = compared["number"].to_numpy()
    _, first = np.unique(np.array(compared["digests"].to_pylist()), return_index=True)
    first = np.sort(first)
    keys = compared["keys"].combine_chunks().flatten().to_numpy().reshape(len(numbers), -1)
    pairs = near_duplicates.candidates(numbers[first], keys[first])
    asked = _fetch(_only(examined, np.unique(pairs)).select_columns(["number", "words"]))
    words = dict(zip(asked["number"].to_pylist(), asked["words"].to_pylist(), strict=True))
    one, other = (pa.array([words[number] for number in of_pair]) for of_pair in pairs.T.tolist())
    edges = pairs[similarities(one, other, 5) >= threshold]
    dropped, _ = near_duplicates.components(edges)
    _only(examined, np.setdiff1d(numbers[first], dropped)).select_columns(["line"]).write_parquet(target)


def _only(examined: Any, numbers: Any) -> Any:
    return examined.map_batches(
        lambda batch: batch.filter(pa.array(np.isin(batch["number"].to_numpy(), numbers))), batch_format="pyarrow"
    )


def _fetch(chosen: Any) -> pa.Table:
    return pa.concat_tables(ray.get(chosen.to_arrow_refs()))


if __name__ == "__main__":
    main(*sys.argv[1:])
