"""Finds training rows that contain a run of words of a held-out row (Brown et al. 2020, appendix C, use 13 words)."""

from typing import Any

from llmops_kit.data_pipeline.shingles import hashes_of, parts, unique


def find(trained: Any, held_out: Any, size: int) -> list[int]:
    """Returns the numbers of training rows that share `size` consecutive words with a held-out row, sorted.

    Shorter texts have no such run; they are covered by the rule for equal prompts.

    Args:
        trained: a Daft frame with `number` and `words`.
        held_out: another one. Its runs' hashes, 8 bytes each, are held in memory, and sent to each worker.
        size: words of a run.
    """
    import daft
    import numpy as np
    import pyarrow as pa

    runs = [np.array([], dtype=np.uint64)]
    for batch in held_out.select("words").to_arrow_iter():
        texts = batch["words"]
        runs += [unique(hashes_of(texts[part], size)[0]) for part in parts(texts)]
    known = unique(np.concatenate(runs))
    if not len(known):
        return []

    @daft.func.batch(return_dtype=daft.DataType.bool())
    def holds(words: Any) -> Any:
        texts = words.to_arrow()
        return pa.array(np.concatenate([_holds(texts[part], size, known) for part in parts(texts)]))

    found = trained.where(holds(daft.col("words"))).select("number").to_pydict()["number"]
    return sorted(found)


def _holds(texts: Any, size: int, known: Any) -> Any:
    """Returns for each text whether one of its runs' hashes is among those known, which are sorted."""
    import numpy as np

    hashes, counts = hashes_of(texts, size)
    is_known = known[np.searchsorted(known, hashes) % len(known)] == hashes
    text_of = np.repeat(np.arange(len(counts)), counts)
    return np.bincount(text_of[is_known], minlength=len(counts)) > 0
