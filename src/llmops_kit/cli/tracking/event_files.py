"""Writes a run as an event file of TensorBoard."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llmops_kit.cli.tracking.records import RunRecord
from llmops_kit.core.errors import KitError, require_packages

_VERSION = "brain.Event:2"
"""Version that TensorBoard expects in a file's first event."""


def write_events(record: RunRecord, folder: Path) -> Path:
    """Writes the steps' values, the scores and the recipe of a run. Equal runs give equal bytes; a repeated call
    replaces the file.

    Args:
        record: the run.
        folder: for `tensorboard --logdir`; the run gets a folder named by its id.

    Returns:
        The file.

    Raises:
        KitError: the package tensorboardX is missing, or the folder can't be written.
    """
    require_packages("tensorboard", "tensorboardX")
    from tensorboardX import RecordWriter

    path = folder / record.run / f"events.out.tfevents.{round(record.started)}.{record.run}"
    partial = path.with_name(".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)
        writer = RecordWriter(str(partial))
        for event in _events(record):
            writer.write(event.SerializeToString())
        writer.close()
        partial.rename(path)
    except OSError as e:
        raise KitError(f"can't be written: {e.strerror or e}", where=str(path), fix="name another folder") from e
    return path


def _events(record: RunRecord) -> Iterator[Any]:
    from tensorboardX.proto import event_pb2
    from tensorboardX.summary import scalar, text

    Event: Any = event_pb2.Event  # type: ignore[attr-defined]  # noqa: N806  made when protobuf imports it

    yield Event(wall_time=record.started, file_version=_VERSION)
    for step in record.steps:
        for name, value in step.values().items():
            yield Event(wall_time=step.time, step=step.step, summary=scalar(f"train/{name}", value))
    last = record.steps[-1].step if record.steps else 0
    for name, value in record.scores.items():
        yield Event(wall_time=record.ended, step=last, summary=scalar(name, value))
    settings = "\n".join(f"    {name}: {value}" for name, value in record.params.items())  # as code, in Markdown
    yield Event(wall_time=record.ended, step=last, summary=text("recipe", settings))
