"""Training rows that contain a run of words of a held-out row (Brown et al. 2020, appendix C, use 13 words)."""

from typing import Any

from preparation.shingles import hashes_of


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

    runs = [_runs(words, size) for words in held_out.select("words").to_pydict()["words"]]
    known = np.unique(np.concatenate([np.array([], dtype=np.uint64), *runs]))
    if not len(known):
        return []

    @daft.func.batch(return_dtype=daft.DataType.bool())
    def holds(words: Any) -> list[bool]:
        return [bool(np.isin(_runs(each, size), known).any()) for each in words.to_pylist()]

    found = trained.where(holds(daft.col("words"))).select("number").to_pydict()["number"]
    return sorted(found)


def _runs(words: str, size: int) -> Any:
    import numpy as np

    if words.count(" ") + 1 < size:
        return np.array([], dtype=np.uint64)
    return hashes_of(words, size)
