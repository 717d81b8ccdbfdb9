"""Sources in a cloud's storage: s3://bucket/glob, az://account/container/glob."""

from collections.abc import Iterator
from contextlib import closing

from llmops_kit.cli.data.globs import choose, fixed_folder
from llmops_kit.cli.data.items import Item, Partial, SourceContext
from llmops_kit.cli.platforms.registry import operations_of
from llmops_kit.clouds.objects import ObjectEntry, ObjectSource
from llmops_kit.clouds.targets import TARGETS, load
from llmops_kit.core.documents.recipe_data import DataSource
from llmops_kit.core.errors import DataError, require_packages

SCHEMES = {record.data_scheme: record for record in TARGETS.values() if record.data_scheme}
"""s3, az -> the target with that storage."""


def find_objects(source: DataSource, context: SourceContext) -> Iterator[Item]:
    """Yields the objects that match a glob. A glob that ends in `/` matches everything below it.

    Raises:
        DataError: it matches none, one of an unknown format, or more than the limit.
        KitError: the cloud refuses, or its SDK is not installed.
    """
    scheme, _, place = source.source.partition("://")
    target = SCHEMES[scheme]
    if extra := operations_of(target.name).extra:
        require_packages(*extra)
    folder, glob = load(target.data)(place)
    prefix = fixed_folder(glob)
    found: dict[str, ObjectEntry] = {}
    for entry in folder.entries(prefix if glob.endswith("/") or prefix != glob else glob):
        found[entry.key] = entry
        if len(found) > context.limits.files:
            what = f"has more than {context.limits.files} objects below {prefix!r}"
            raise DataError(what, where=source.source, fix="name a deeper folder")
    everything = not glob or glob.endswith("/")
    for key in choose(found, "" if everything else glob, source.source):
        entry = found[key]
        yield Item(key.removeprefix(prefix), f"{folder.url}/{key}", _fetcher(folder, entry), entry.etag)


def _fetcher(folder: ObjectSource, entry: ObjectEntry):
    def fetch(partial: Partial, _known: str) -> str:
        partial.check_size(entry.size)
        start = partial.resumable(entry.etag)
        start = start if start < entry.size else 0
        with closing(folder.stream(entry.key, entry.etag, start)) as pieces:
            partial.fill(pieces if entry.size else (), entry.etag, start)
        return entry.etag

    return fetch
