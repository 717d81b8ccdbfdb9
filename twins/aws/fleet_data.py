"""Model data of a container: S3's objects as files in a folder of its own, linked where they are in files already."""

import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

from twins.common.fleet_cloud import DataError
from twins.common.fleet_plan import DataSource

if TYPE_CHECKING:
    from twins.aws.twin import Twin


def fetch(twin: "Twin", source: DataSource, target: Path) -> None:
    """Have the data in a folder, without holding it in memory; call it without the twin's lock.

    Raises:
        DataError: there is no such object, it can't be read, or an archive can't be unpacked.
    """
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
