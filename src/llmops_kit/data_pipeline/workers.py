"""Applies the rules for single rows to files of rows: in this process, in others of this machine, or on a Ray cluster.

Workers read and write files, since passing texts between processes would take as long as the rules.
"""

import json
import multiprocessing
import os
import signal
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import forkserver
from pathlib import Path
from typing import Any, NamedTuple

from llmops_kit.core.documents.recipe_data import Data
from llmops_kit.core.errors import DataError, KitError
from llmops_kit.core.garbage import collect_garbage_rarely
from llmops_kit.data_pipeline import near_duplicates
from llmops_kit.data_pipeline.examine import Examined, RowRules
from llmops_kit.data_pipeline.reading import ReadRows

PLACES = ("number", "source", "where")
_COMPRESSION = "lz4"  # of stages, which are read once: zstd took 1.5 times the processor time, for half the size
_LONGEST_FOLDER = 104 - len("/pymp-12345678/listener-12345678") - 1  # macOS's limit, the lowest one


class Task(NamedTuple):
    """Parameters of a worker, the same for all files.

    Attributes:
        data: the recipe's `data`, as JSON.
        tokenizer: the file by which tokens are counted; None: they are not counted.
        ner: the model version by which personal data is found; None: no model.
        folder: receives a file of the same name for each file of rows.
    """

    data: str
    tokenizer: Path | None
    ner: Path | None
    folder: Path


class FileExaminer:
    """Applies a recipe's rules to files of rows."""

    def __init__(self, task: Task) -> None:
        data = Data.model_validate_json(task.data)
        self._rules, self._folder = RowRules(data, task.tokenizer, task.ner), task.folder
        threshold = data.prepare.near_duplicates
        self._bands = near_duplicates.bands_for(threshold) if threshold else 0

    def examine(self, file: Path) -> int:
        """Writes the results of the rules for a file's rows, and returns their number."""
        from pyarrow import parquet

        rows = parquet.ParquetFile(file).read()
        lines, places, told, dropped = (rows[name].to_pylist() for name in ("line", "where", "fault", "dropped"))
        faults = [_fault(text) if text else None for text in told]
        columns = _to_arrow(self._rules.examine_all(lines, places, faults, dropped))
        if self._bands:
            columns["keys"] = near_duplicates.keys_of(columns["words"], self._bands)
        _write({name: rows[name] for name in PLACES} | columns, self._folder / file.name)
        return len(lines)


def examine_files(task: Task, files: Sequence[Path], workers: int, ray: bool) -> Iterator[int]:
    """Applies a recipe's rules to files of rows, and yields the number of rows of each.

    Args:
        workers: processes; with 1, it is this one.
        ray: they are those of the Ray cluster that is connected, which sees the files.

    Raises:
        KitError: a worker of this machine was killed.
    """
    if ray:
        from ray.util.multiprocessing import Pool

        with Pool(workers, initializer=_begin, initargs=[task]) as pool:
            yield from pool.imap_unordered(_examine, files, chunksize=1)
    elif workers == 1:
        yield from map(FileExaminer(task).examine, files)
    else:
        executor = ProcessPoolExecutor(workers, _context(), _begin_here, (task,))
        try:
            yield from executor.map(_examine, files)
        except BrokenProcessPool:
            fix = "free memory, or give fewer workers (--workers); repeat the command: it resumes"
            raise KitError("a process that checks rows was killed", where="data.prepare", fix=fix) from None
        finally:
            executor.shutdown(cancel_futures=True)


def begin_loading() -> None:
    """Starts the process from which workers of this machine are forked; it loads their libraries in the background."""
    if _context().get_start_method() == "forkserver":
        forkserver.ensure_running()


def write_read(rows: ReadRows, path: Path) -> None:
    """Writes rows to a file for `FileExaminer`."""
    import pyarrow as pa

    told = [json.dumps([fault.what, fault.where, fault.fix]) if fault else "" for fault in rows.faults]
    _write(
        {
            "number": pa.array(range(rows.first, rows.first + len(rows.lines)), pa.int64()),
            "source": pa.array(rows.sources, pa.int32()),
            "where": pa.array(rows.places, pa.string()),
            "line": pa.array(rows.lines, pa.string()),
            "fault": pa.array(told, pa.string()),
            "dropped": pa.array(rows.dropped, pa.string()),
        },
        path,
    )


_examiner: FileExaminer | None = None  # of a worker: pools call functions, which have no other place for state


def _context() -> Any:
    """Returns the start method of processes: forked from a server without threads, which has the libraries loaded; or
    spawned, if the path of the server's socket would be too long.
    """
    if len(tempfile.gettempdir()) > _LONGEST_FOLDER:
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "daft", "pyarrow.compute", "pyarrow.parquet"])
    return context


def _begin_here(task: Task) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is handled by the parent, which ends its workers
    _begin(task)


def _end_with_parent() -> None:
    """Ends this process when its parent has ended: it would wait for work forever, and the server with it."""
    parent = multiprocessing.parent_process()
    assert parent, "this is a worker"
    parent.join()
    os._exit(1)


def _begin(task: Task) -> None:
    global _examiner
    collect_garbage_rarely()
    _examiner = FileExaminer(task)


def _examine(file: Path) -> int:
    assert _examiner, "workers begin with `_begin`"
    return _examiner.examine(file)


def _fault(text: str) -> DataError:
    what, where, fix = json.loads(text)
    return DataError(what, where=where, fix=fix)


def _write(columns: dict[str, Any], path: Path) -> None:
    """Writes a stage's file without dictionaries and statistics, which only take time: it is read whole and in
    order.
    """
    import pyarrow as pa
    from pyarrow import parquet

    table = pa.table(columns)
    parquet.write_table(table, path, compression=_COMPRESSION, use_dictionary=False, write_statistics=False)


def _to_arrow(said: Sequence[Examined]) -> dict[str, Any]:
    """Returns a pyarrow array for each field of Examined."""
    import pyarrow as pa

    kinds = {str: pa.large_string(), bytes: pa.large_binary(), int: pa.int64()}
    columns = zip(Examined.__annotations__.items(), zip(*said, strict=True), strict=True)
    return {name: pa.array(column, kinds[kind]) for (name, kind), column in columns}
