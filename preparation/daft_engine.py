"""Processes rows in stages on disk with Daft: on all processors of this machine, or on a Ray cluster.

Texts are never all in the driver's memory; digests are. On Ray, the work folder must be visible to all nodes.
"""

import atexit
import itertools
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from contract.documents.collected import RECEIPTS, CollectedFile
from contract.documents.recipe_data import Data
from contract.errors import DataError
from contract.integrity.digest import sha256_file
from contract.layout import MANIFEST
from preparation import near_duplicates, overlap
from preparation.engine import ExaminedRows
from preparation.examine import Examined, RowRules
from preparation.reading import NumberedRow, read_sources
from preparation.stages import Stages

_FILE_ROWS = 8192
_BATCH_ROWS, _FEW_ROWS = 4096, 512
"""Rows that a worker gets at once: each batch waits for the process to be handed the next. Rules that look into texts
take milliseconds a row, so that few rows a batch keep all workers at work until the end.
"""
_BATCH_BYTES = 16 << 20
_GROUP_BYTES = 16 << 20
_COMPRESSION = "lz4"  # of stages, which are read once: zstd took 1.5 times the processor time, for half the size
_TEXTS = ("line", "words")  # the last fields of Examined
_KEYS = Examined._fields[: -len(_TEXTS)]
_PLACES = ("number", "source", "where")


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
        tokenizer: Path | None,
        ner: Path | None,
        say: Callable[[str], None],
    ) -> None:
        self._data, self._collected, self._shown = data, collected, shown
        self._workers, self._say = workers, say
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

    def examined(self) -> Iterator[ExaminedRows]:
        read = self._stages.run("read", "", self._read)
        rules = self._data.model_dump_json(exclude={"sources", "faulty_rows"})
        self._examined = self._stages.run("examined", rules, lambda folder: self._examine(read, folder))
        from pyarrow import dataset

        table = dataset.dataset(self._examined, format="parquet").to_table([*_PLACES, *_KEYS])
        for batch in table.sort_by("number").to_batches(max_chunksize=_FILE_ROWS):
            numbers, sources, places, *said = (column.to_pylist() for column in batch.columns)
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
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute
        from pyarrow import dataset

        pc: Any = pyarrow.compute  # whose functions pyright does not see
        files = dataset.dataset(self._examined, format="parquet").get_fragments()
        groups = [(_lowest_number(group), group) for file in files for group in file.split_by_row_group()]
        groups.sort(key=lambda group: group[0])
        following = [lowest for lowest, _ in groups[1:]]
        waiting: list[Any] = []  # rows that may come after some of the next group
        for (_, group), end in itertools.zip_longest(groups, following):
            rows = pa.concat_tables([*waiting, group.to_table(columns=["number", "line"])])
            waiting = []
            if end is not None:
                later = rows["number"].to_numpy() >= end
                waiting = [rows.filter(pa.array(later))]
                rows = rows.filter(pa.array(~later))
            # Both would copy all texts, and most rows have a line, and stand in order.
            if pc.any(pc.equal(rows["line"], "")).as_py():
                rows = rows.filter(dataset.field("line") != "")
            if (np.diff(rows["number"].to_numpy()) < 0).any():
                rows = rows.sort_by("number")
            yield rows["number"].combine_chunks(), rows["line"].cast(pa.large_string()).combine_chunks()

    def forget_others(self) -> None:
        """Removes stages of earlier calls with other inputs or settings."""
        self._stages.forget_others()

    def _read(self, folder: Path) -> None:
        rows = read_sources(self._data, self._collected, self._shown)
        for count in itertools.count():
            chunk = list(itertools.islice(rows, _FILE_ROWS))
            _write(chunk, folder / f"{count:06d}.parquet")
            if len(chunk) < _FILE_ROWS:
                return
            self._say(f"read: {(count + 1) * _FILE_ROWS} rows")

    def _examine(self, read: Path, folder: Path) -> None:
        import daft

        self._say(f"examine: by {self._workers} processes")
        rules = _rules_on_daft(self._data, self._tokenizer, self._ner, self._workers, self._rows_together(read))
        columns = [daft.col(name) for name in ("line", "where", "fault")]
        frame = daft.read_parquet(f"{read}/*.parquet")
        frame = frame.select(daft.col("number"), daft.col("source"), daft.col("where"), rules(*columns))
        if threshold := self._data.prepare.near_duplicates:
            bands = near_duplicates.bands_for(threshold)
            frame = frame.with_column("keys", near_duplicates.keys_of(daft.col("words"), bands))
        # Row groups of this size: `lines` has one of them in memory, and what others have between its numbers.
        with daft.execution_config_ctx(parquet_target_row_group_size=_GROUP_BYTES):
            frame.write_parquet(str(folder), compression=_COMPRESSION)

    def _rows_together(self, read: Path) -> int:
        """Returns the number of rows of a batch, by what the rules take and by the rows' average size."""
        from pyarrow import parquet

        wanted = self._data.prepare
        slow = wanted.pii or wanted.ner or wanted.languages or wanted.pairs or wanted.secrets != "off"
        files = [parquet.read_metadata(path) for path in read.iterdir()]
        rows = sum(file.num_rows for file in files)
        size = sum(file.row_group(at).total_byte_size for file in files for at in range(file.num_row_groups))
        most = _FEW_ROWS if slow or self._tokenizer else _BATCH_ROWS
        return min(most, max(1, _BATCH_BYTES * rows // max(1, size)))

    def _only(self, numbers: Sequence[int]) -> Any:
        import daft

        frame = daft.read_parquet(f"{self._examined}/*.parquet").select("number", "words")
        return frame.join(daft.from_pydict({"number": list(numbers)}), on="number", how="semi")


def _lowest_number(group: Any) -> int:
    """Returns the lowest number of a Parquet file's row group, from its statistics."""
    return group.row_groups[0].statistics["number"]["min"]


def start(ray: str) -> None:
    """Chooses where Daft runs: a Ray cluster's address, or empty for this machine."""
    import daft

    if ray:
        daft.set_runner_ray(address=ray)
    else:
        daft.set_runner_native()


def _write(rows: Sequence[NumberedRow], path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    numbers, sources, places, lines, faults = zip(*rows, strict=True) if rows else ((),) * 5
    told = [json.dumps([fault.what, fault.where, fault.fix]) if fault else "" for fault in faults]
    kinds = (pa.int64(), pa.int32(), pa.string(), pa.string(), pa.string())
    columns = [
        pa.array(values, kind) for values, kind in zip((numbers, sources, places, lines, told), kinds, strict=True)
    ]
    table = pa.table(columns, names=[*_PLACES, "line", "fault"])
    parquet.write_table(table, path, compression=_COMPRESSION)


def _rules_on_daft(data: Data, tokenizer: Path | None, ner: Path | None, workers: int, batch: int) -> Any:
    """Returns a Daft expression function over (line, where, fault), whose fields are those of Examined; it takes
    `batch` rows at a time.
    """
    import daft

    kinds = {str: daft.DataType.string(), bytes: daft.DataType.binary(), int: daft.DataType.int64()}
    fields = {name: kinds[kind] for name, kind in Examined.__annotations__.items()}

    class Rules:
        def __init__(self, data: str, tokenizer: str, ner: str) -> None:
            if _is_daft_worker():
                atexit.register(os._exit, 0)  # taking the libraries apart takes seconds, and Daft waits for it
            files = [Path(each) if each else None for each in (tokenizer, ner)]
            self.rules = RowRules(Data.model_validate_json(data), *files)

        @daft.method.batch(return_dtype=daft.DataType.struct(fields), unnest=True, batch_size=batch)
        def examine(self, line: Any, where: Any, fault: Any) -> Any:
            rows = zip(*(series.to_arrow().to_pylist() for series in (line, where, fault)), strict=True)
            said = [self.rules.fault(DataError(*json.loads(f))) if f else self.rules.examine(r, w) for r, w, f in rows]
            return _to_arrow(said)

    made = daft.cls(Rules, max_concurrency=workers if workers > 1 else None, use_process=workers > 1)
    return made(data.model_dump_json(), str(tokenizer or ""), str(ner or "")).examine


def _is_daft_worker() -> bool:
    """Returns whether this is a process that Daft started for a function, and not one of Ray's."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return bool(spec) and spec.name == "daft.execution.udf_worker"


def _to_arrow(said: Sequence[Examined]) -> Any:
    """Returns a struct for each, whose fields are those of Examined."""
    import pyarrow as pa

    kinds = {str: pa.large_string(), bytes: pa.large_binary(), int: pa.int64()}
    columns = zip(*said, strict=True)
    arrays = [
        pa.array(column, kinds[kind]) for column, kind in zip(columns, Examined.__annotations__.values(), strict=True)
    ]
    return pa.StructArray.from_arrays(arrays, Examined._fields)
