"""The store: a folder of dataset and model versions, which outlives its stack."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from pulumi import dynamic

from llmops_kit.core.errors import KitError
from llmops_kit.core.integrity.stack_homes import home_of
from llmops_kit.infra.targets.dynamic import KitProvider, Properties, gone, inputs_of
from llmops_kit.infra.targets.local.providers.home import claim, is_there, opened

_DOCUMENT = "store.json"
_STORE = "store"


class StoreProvider(KitProvider):
    """Creates a store's folder, or adopts an existing one."""

    def create(self, props: Properties) -> dynamic.CreateResult:
        """Claims the folder; idempotent."""
        _claim(props)
        return dynamic.CreateResult(props["folder"], _outputs(props))

    def read(self, id_: str, props: Properties) -> dynamic.ReadResult:
        """Reports the store as gone if its document is missing."""
        exists = is_there(_home(props)) and (Path(props["folder"]) / _DOCUMENT).exists()
        return dynamic.ReadResult(id_, props) if exists else gone()

    def update(self, _id: str, _olds: Properties, _news: Properties) -> dynamic.UpdateResult:
        """Requires that the user has moved the data to the new folder, and claims it."""
        require_moved(Path(_olds["folder"]) / _DOCUMENT, Path(_news["folder"]) / _DOCUMENT)
        _claim(_news)
        return dynamic.UpdateResult(_outputs(_news))

    def delete(self, _id: str, _props: Properties) -> None:
        """Remove an empty store. The engine asks only after the resource was unprotected.

        Raises:
            KitError: versions are left.
        """
        home = _home(_props)
        if not is_there(home):
            return
        left = next(_versions(home / _STORE), None)
        if left:
            raise KitError(
                "the store is not empty: its versions would be lost",
                where=str(left),
                fix="`llmops down --data NAME` empties it, or move what you want to keep and remove the rest",
            )
        claim(home)  # the store's document may be the only record of the home's project
        import shutil

        with opened(home) as folder, suppress(FileNotFoundError):
            if folder is not None:  # else it would be relative to this process's folder
                shutil.rmtree(_STORE, dir_fd=folder)


def _home(props: Properties) -> Path:
    return home_of(props["folder"], _STORE)


def read_store(folder: Path, key: str) -> bytes | None:
    """Returns an object's content from a store's folder; None if there is none."""
    try:
        return (folder / key).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def require_moved(old: Path, new: Path) -> None:
    """Check that data was moved to a new folder.

    Raises:
        KitError: `old` exists, and `new` does not.
    """
    if old.exists() and not new.exists():
        raise KitError(
            f"the stack's data is in {old.parent}, but local_home now selects {new.parent}",
            where="setting local_home",
            fix=f"move the folder first (`mv {old.parent} {new.parent}`), or set local_home back",
        )


def _outputs(props: Properties) -> Properties:
    return inputs_of(props) | {"url": Path(props["folder"]).as_uri()}


def _claim(props: Properties) -> None:
    """Write the store's document, unless the folder belongs to another stack or checkout."""
    from llmops_kit.core.documents.store import StoreDocument

    path = Path(props["folder"]) / _DOCUMENT
    claim(_home(props))
    if path.exists():
        found = StoreDocument.load(path)
        other = found.stack != props["stack"] or (
            found.project not in ("", props["project"]) and Path(found.project).is_dir()
        )
        if other:
            raise KitError(
                f"belongs to stack {found.stack} of {found.project or 'another project'}",
                where=str(path),
                fix="choose another folder with local_home, or another name for this stack",
            )
    StoreDocument.new(stack=props["stack"], project=props["project"]).write(path)


def _versions(folder: Path) -> Iterator[Path]:
    for kind in ("models", "datasets"):
        yield from (folder / kind).glob("*")
