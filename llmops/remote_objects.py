"""Objects in a cloud: what the stores of all clouds have in common, and this machine's cache of what was fetched.

A key is written once, by a conditional create (If-None-Match: *). A folder is there when its manifest is, which is
written last.
"""

import json
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

from contract.dataset import FileEntry
from contract.digest import check_folder, list_files, sha256_file
from contract.errors import IntegrityError, KitError
from contract.layout import MANIFEST

_THREADS = 8
_SEEN = ".seen.json"  # beside the folder in the cache: the objects' ETags when they were fetched
_AGAIN = "repeat the command: it goes on from there"


class RemoteObjects(ABC):
    """Objects of one bucket or container. Implements llmops.objects.Objects; a cloud adds its calls.

    Attributes:
        url: of the bucket or container.
        cache: the folder of this machine that keeps what was fetched from it.
    """

    def __init__(self, url: str, cache: Path) -> None:
        self.url = url
        self.cache = cache

    def list(self, prefix: str) -> list[str]:
        """Keys below a prefix, sorted by their bytes."""
        return sorted(self._entries(prefix), key=str.encode)

    def get(self, key: str) -> bytes:
        """An object's content."""
        content = self.find(key)
        if content is None:
            raise KitError("is not in the store", where=f"{self.url}/{key}")
        return content

    @abstractmethod
    def find(self, key: str) -> bytes | None:
        """An object's content; None: there is none."""

    @abstractmethod
    def put(self, key: str, data: bytes) -> None:
        """Write an object, over one that may be there."""

    @abstractmethod
    def create(self, key: str, data: bytes) -> bool:
        """Write an object unless there is one; of writers at the same time, exactly one is told True."""

    def put_folder(self, key: str, folder: Path, extra: Mapping[str, bytes]) -> bool:
        """Write a folder's files, then its manifest: until that is there, nobody sees the folder.

        Keys are content hashes, so that files which an interrupted writer left are the same ones.
        """
        if self._exists(f"{key}/{MANIFEST}"):
            return False
        files = {n: p for n, p in list_files(folder).items() if n not in extra and n != MANIFEST}
        with self._explained(f"{self.url}/{key}", _AGAIN):
            _at_once(lambda item: self._upload(f"{key}/{item[0]}", item[1]), files.items())
        for name, data in extra.items():
            self.put(f"{key}/{name}", data)
        return self.create(f"{key}/{MANIFEST}", (folder / MANIFEST).read_bytes())

    def get_folder(self, key: str) -> Path:
        """The folder in this machine's cache, fetched anew where an object was changed.

        What an interrupted fetch had of it is gone on with.

        Raises:
            KitError: there is no such folder.
            IntegrityError: what is there is not what the folder's manifest says.
        """
        prefix = f"{key}/"
        there = {k.removeprefix(prefix): etag for k, etag in self._entries(prefix).items()}
        if MANIFEST not in there:
            raise KitError(
                "is not in the store", where=f"{self.url}/{key}", fix="`llmops models list` shows what is there"
            )
        folder = self.cache / key
        if folder.is_dir() and _read_seen(folder) == there:
            return folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        incoming = _incoming(folder)
        try:
            self._fetch(prefix, there, incoming)
            _check(incoming, key.rpartition("/")[2], f"{self.url}/{key}")
        except IntegrityError:
            shutil.rmtree(incoming, ignore_errors=True)
            raise
        except BaseException:
            _keep_for_later(incoming, folder)
            raise
        shutil.rmtree(folder, ignore_errors=True)
        try:
            incoming.rename(folder)
        except OSError:
            shutil.rmtree(incoming, ignore_errors=True)
            if not folder.is_dir():  # else another process fetched it meanwhile
                raise
        _seen(folder).write_text(json.dumps(there))
        return folder

    def download(self, prefix: str, folder: Path) -> None:
        """Fetch all objects below a prefix into a folder, which may have some."""
        with self._explained(f"{self.url}/{prefix}", "repeat the command"):
            _at_once(lambda key: self._download(key, folder / key.removeprefix(prefix)), self._entries(prefix))

    @abstractmethod
    def folders(self, prefix: str) -> Iterator[str]:
        """Keys of the folders that begin with a prefix, without what is in them; none where the place is gone."""

    @abstractmethod
    def _entries(self, prefix: str) -> dict[str, str]:
        """Key -> ETag of the objects below a prefix."""

    @abstractmethod
    def _exists(self, key: str) -> bool: ...

    @abstractmethod
    def _upload(self, key: str, path: Path) -> None: ...

    @abstractmethod
    def _download(self, key: str, path: Path) -> None:
        """Into a file, in a folder that is made; the cloud's errors as they are."""

    @abstractmethod
    def _explained(self, where: str, fix: str = "") -> AbstractContextManager[None]:
        """The cloud's errors as KitErrors."""

    def _fetch(self, prefix: str, there: Mapping[str, str], incoming: Path) -> None:
        """Fetch what is not whole yet in `incoming`, whose record says which ETags its whole files have."""
        had = _read_seen(incoming)
        whole = {name: etag for name, etag in had.items() if there.get(name) == etag}
        for name in list_files(incoming).keys() - whole.keys():
            (incoming / name).unlink()

        def fetch(name: str) -> None:
            self._download(prefix + name, incoming / name)
            whole[name] = there[name]

        try:
            with self._explained(f"{self.url}/{prefix}", _AGAIN):
                _at_once(fetch, [name for name in there if name not in whole])
        finally:
            _seen(incoming).write_text(json.dumps(whole))
        _seen(incoming).unlink()


def _check(folder: Path, identity: str, where: str) -> None:
    """See that a fetched folder is what its key (a manifest's sha256) and its manifest say."""
    manifest = folder / MANIFEST
    if sha256_file(manifest) != identity:
        raise IntegrityError(
            f"the manifest was changed: it is not sha256:{identity}",
            where=where,
            fix="bring the version in again, or promote another one",
        )
    files = json.loads(manifest.read_text())["files"]
    try:
        check_folder(folder, {name: FileEntry.model_validate(entry) for name, entry in files.items()})
    except IntegrityError as e:
        place = Path(e.where).relative_to(folder).as_posix()
        raise IntegrityError(e.what, where=f"{where}/{place}", fix=e.fix) from None


def _at_once(work: Callable[[Any], None], items: Iterable[Any]) -> None:
    """Do work for all items, some at a time; the first error ends it."""
    with ThreadPoolExecutor(_THREADS) as pool:
        futures = [pool.submit(work, item) for item in items]
        try:
            for future in futures:
                future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _incoming(folder: Path) -> Path:
    """A folder beside another to fetch it into: new, or with what an interrupted fetch left."""
    mine = Path(tempfile.mkdtemp(prefix=".incoming-", dir=folder.parent))
    with suppress(OSError):  # there is none, or another process took it
        _partial(folder).rename(mine)
        _seen(_partial(folder)).rename(_seen(mine))
    return mine


def _keep_for_later(incoming: Path, folder: Path) -> None:
    """Two that are interrupted at once leave the work of the first."""
    try:
        incoming.rename(_partial(folder))
        _seen(incoming).rename(_seen(_partial(folder)))
    except OSError:
        shutil.rmtree(incoming, ignore_errors=True)
        _seen(incoming).unlink(missing_ok=True)


def _partial(folder: Path) -> Path:
    return folder.with_name(f".partial-{folder.name}")


def _seen(folder: Path) -> Path:
    return folder.with_name(folder.name + _SEEN)


def _read_seen(folder: Path) -> dict[str, str]:
    try:
        return json.loads(_seen(folder).read_text())
    except (OSError, ValueError):
        return {}
