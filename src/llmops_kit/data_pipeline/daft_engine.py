"""Processes rows in stages on disk: rules for single rows in processes, comparisons by Daft, each on this machine or on
a Ray cluster.

Texts are never all in the driver's memory; digests are. On Ray, the work folder must be visible to all nodes.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from llmops_kit.core.documents.collected import RECEIPTS, CollectedFile
from llmops_kit.core.documents.recipe_data import Data
from llmops_kit.core.errors import KitError
from llmops_kit.core.hashes import sha256_file
from llmops_kit.core.layout import MANIFEST
from llmops_kit.data_pipeline import near_duplicates, overlap
from llmops_kit.data_pipeline.engine import ExaminedRows
from llmops_kit.data_pipeline.examine import Examined
from llmops_kit.data_pipeline.reading import read_sources
from llmops_kit.data_pipeline.stages import Stages
from llmops_kit.data_pipeline.workers import PLACES, Task, examine_files, write_read

_FILE_ROWS, _FEW_FILE_ROWS = 4096, 512
"""Rows of a stage's file, which is a worker's unit of work. Rules that read texts take milliseconds per row, so files
of few rows keep all workers busy until the end.
"""
_SAY_AFTER_S = 5
_TEXTS = ("line", "words")  # the last fields of Examined
_KEYS = Examined._fields[: -len(_TEXTS)]


class OnDaft:
    """An engine whose result is the same for any number of workers."""

    def __init__(
        self,
        data: Data,
        collected: Path,
        shown: Callable[[CollectedFile], str],
        *,
        work: Path,
        workers: int,
        ray: bool,
        tokenizer: Path | None,
        ner: Path | None,
        say: Callable[[str], None],
    ) -> None:
        self._data, self._collected, self._shown = data, collected, shown
        self._workers, self._ray, self._say = workers, ray, say
        self._tokenizer, self._ner = tokenizer, ner
        receipts = collected / RECEIPTS
        inputs = json.dumps(
            [
                sha256_file(receipts) if receipts.is_file() else "",
                data.model_dump(mode="json", include={"sources"}),
                sha256_file(tokenizer) if tokenizer else "",
                sha256_file(ner / MANIFEST) if ner else "",
            ]
        )
        self._stages = Stages(work, inputs, say)
        self._examined = Path()
        self._said = time.monotonic()

    def examined(self) -> Iterator[ExaminedRows]:
        together = self._rows_together()
        read = self._stages.run("read", str(together), lambda folder: self._read(folder, together))
        rules = self._data.model_dump_json(exclude={"sources", "faulty_rows"})
        self._examined = self._stages.run("examined", rules, lambda folder: self._examine(read, folder))
        for batch in self._examined_files([*PLACES, *_KEYS]):
            numbers, sources, places, *said = (_to_list(column) for column in batch.columns)
            yield ExaminedRows(numbers, sources, places, dict(zip(_KEYS, said, strict=True)))

    def near_duplicates(self, left_out: Sequence[int]) -> dict[int, int]:
        threshold = self._data.prepare.near_duplicates
        settings = json.dumps([threshold, *left_out])
        folder = self._stages.run(
            "near-duplicates",
            settings,
            lambda folder: near_duplicates.write(self._examined, left_out, threshold, folder, self._say),
        )
        return near_duplicates.read(folder)

    def overlapping(self, trained: Sequence[int], held_out: Sequence[int]) -> list[int]:
        size = self._data.prepare.overlap_words
        self._say(f"overlap: {len(trained)} rows with {len(held_out)} held out")
        return overlap.find(self._only(trained), self._only(held_out), size)

    def lines(self) -> Iterator[tuple[Any, Any]]:
        import pyarrow.compute

        pc: Any = pyarrow.compute  # whose functions pyright does not see
        for batch in self._examined_files(["number", "line"]):
            kept = pc.not_equal(batch["line"], "")
            rows = batch if pc.all(kept).as_py() else batch.filter(kept)  # filtering would copy all texts
            yield rows["number"], rows["line"]

    def _examined_files(self, columns: Sequence[str]) -> Iterator[Any]:
        """Yields some columns of each examined file, in the rows' order, as a pyarrow RecordBatch."""
        from pyarrow import parquet

        for path in sorted(self._examined.iterdir()):
            yield parquet.ParquetFile(path).read(list(columns)).combine_chunks().to_batches()[0]

    def forget_others(self) -> None:
        """Removes stages of earlier calls with other inputs or settings."""
        self._stages.forget_others()

    def _read(self, folder: Path, together: int) -> None:
        for count, rows in enumerate(read_sources(self._data, self._collected, self._shown, together)):
            write_read(rows, folder / f"{count:06d}.parquet")
            if self._say_now():
                self._say(f"read: {rows.first + len(rows.lines)} rows")

    def _examine(self, read: Path, folder: Path) -> None:
        self._say(f"examine: by {self._workers} processes")
        task = Task(self._data.model_dump_json(), self._tokenizer, self._ner, folder)
        files, rows = sorted(read.iterdir()), 0
        for done, count in enumerate(examine_files(task, files, self._workers, self._ray), start=1):
            rows += count
            if self._say_now():
                self._say(f"examined: {rows} rows, {100 * done // len(files)} %")

    def _say_now(self) -> bool:
        """Returns whether a stage's progress was last reported some seconds ago."""
        now = time.monotonic()
        if due := now - self._said > _SAY_AFTER_S:
            self._said = now
        return due

    def _rows_together(self) -> int:
        wanted = self._data.prepare
        slow = wanted.pii or wanted.ner or wanted.languages or wanted.pairs or wanted.secrets != "off"
        return _FEW_FILE_ROWS if slow or self._tokenizer else _FILE_ROWS

    def _only(self, numbers: Sequence[int]) -> Any:
        import daft

        frame = daft.read_parquet(f"{self._examined}/*.parquet").select("number", "words")
        return frame.join(daft.from_pydict({"number": list(numbers)}), on="number", how="semi")


def start(ray: str) -> None:
    """Chooses where Daft runs.

    Args:
        ray: a Ray cluster's address; empty: this machine.

    Raises:
        KitError: no cluster responds.
    """
    import daft

    if not ray:
        daft.set_runner_native()
        return
    try:
        daft.set_runner_ray(address=ray)
    except ConnectionError:
        fix = "check that it runs there; if it requires a token, set one by `ray get-auth-token` or RAY_AUTH_TOKEN_PATH"
        raise KitError("no Ray cluster responds", where=ray, fix=fix) from None


def _to_list(column: Any) -> list[Any]:
    """Returns the values of a pyarrow array; of one with a single repeated value, as many are, without converting
    each.
    """
    import pyarrow.compute

    pc: Any = pyarrow.compute  # whose functions pyright does not see
    if len(column) and pc.all(pc.equal(column, column[0])).as_py():
        return [column[0].as_py()] * len(column)
    return column.to_pylist()
