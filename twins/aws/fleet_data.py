"""Model data of a container: S3's objects as files in a folder of its own, linked where they are in files already."""

import os
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from twins.aws.fleet_plan import DataSource

if TYPE_CHECKING:
    from twins.aws.twin import Twin


class DataError(Exception):
    """Model data can't be had; the text says which, and why."""


def fetch(twin: "Twin", sources: Iterable[DataSource], folder: Path) -> dict[str, str]:
    """Have the data in folders below `folder`, without holding it in memory; call it without the twin's lock.

    Returns:
        Each folder by the container's path; nobody may write to it: a file may be the object itself.

    Raises:
        DataError: there is no such object, it can't be read, or an archive can't be unpacked.
    """
    found: dict[str, str] = {}
    for number, source in enumerate(sources):
        target = folder / str(number)
        target.mkdir(parents=True)
        _fetch(twin, source, target)
        for base, _, names in os.walk(target):
            Path(base).chmod(0o755)  # for whatever user the container runs as
            for name in names:
                Path(base, name).chmod(0o444)
        found[source.path] = str(target)
    return found


def _fetch(twin: "Twin", source: DataSource, target: Path) -> None:
    from twins.aws import objects
    from twins.aws.calls import ApiError

    place = objects.Place.of(source.uri)
    try:
        there = objects.found_below(twin, place)
        if not there:
            raise DataError(f"there is no object at {source.uri}")
        for key, path in there:
            objects.link(twin, place.bucket, key, target / path)
            if source.archive:
                _unpack(target / path)
    except (ApiError, OSError, tarfile.TarError) as e:
        raise DataError(f"{source.uri}: {e}") from e


def _unpack(archive: Path) -> None:
    with tarfile.open(archive) as content:
        content.extractall(archive.parent, filter="data")
    archive.unlink()
