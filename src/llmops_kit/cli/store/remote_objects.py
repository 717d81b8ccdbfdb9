"""Objects in a cloud: the common part of all clouds' stores, and this machine's cache of fetched folders.

A key is written once, by a conditional create (If-None-Match: *). A folder exists once its manifest does, which is
written last. Only its manifest, its signature and the files that the manifest lists are fetched or copied, each with
the listed size; whatever else lies below the key is left there.

Files are copied inside the cloud, and checked at their destination (cli/store/remote_checks.py).
"""

import json
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

from llmops_kit.cli.store.bounded_file import FETCH_ANEW, Bounded
from llmops_kit.cli.store.objects import MOST_DOCUMENT_BYTES, Say, full_disk_explained, require_document
from llmops_kit.cli.store.remote_checks import (
    Hashed,
    ObjectFolder,
    Stored,
    at_once,
    faults,
    in_words,
    read_json,
    write_json,
)
from llmops_kit.core import object_keys
from llmops_kit.core.documents.dataset import FileEntry, files_of
from llmops_kit.core.errors import IntegrityError, KitError
from llmops_kit.core.hashes import sha256_bytes, sha256_file
from llmops_kit.core.integrity.digest import check_folder, list_files
from llmops_kit.core.integrity.fresh_folder import FreshFolder
from llmops_kit.core.layout import MANIFEST, SIGNATURE

_SEEN = ".seen.json"  # beside the folder in the cache: the objects' ETags when they were fetched
_READ = ".read.json"  # beside the folder in the cache: the objects' marks when they were read and matched
_AGAIN = "rerun the command; it resumes"


class Entry(NamedTuple):
    """An object in a listing; `size` in bytes."""

    etag: str
    size: int


class RemoteObjects(ABC):
    """Objects of one bucket or container. Implements llmops_kit.cli.store.objects.Objects; a cloud adds its calls.

    Attributes:
        url: URL of the bucket or container.
        cache: the folder of this machine that keeps what was fetched from it.
    """

    def __init__(self, url: str, cache: Path) -> None:
        self.url = url
        self.cache = cache

    def list(self, prefix: str) -> list[str]:
        """Returns the keys below a prefix, sorted by their bytes.

        Raises:
            IntegrityError: a key exists that the kit would not have written.
        """
        return sorted(object_keys.check_all(self._entries(prefix), f"{self.url}/{prefix}"), key=str.encode)

    def names(self, prefix: str) -> Iterable[str]:
        """Returns all keys below a prefix unchecked, whoever wrote them."""
        return self._entries(prefix)

    def get(self, key: str) -> bytes:
        """Returns an object's content.

        Raises:
            KitError: it is not in the store.
        """
        content = self.find(key)
        if content is None:
            raise KitError("is not in the store", where=f"{self.url}/{key}")
        return content

    def find(self, key: str) -> bytes | None:
        """Returns the content of an object that is a document; None if it does not exist.

        Raises:
            IntegrityError: the key is invalid, or the object is larger than any document.
        """
        content = self.head(key, MOST_DOCUMENT_BYTES + 1)
        return content if content is None else require_document(content, f"{self.url}/{key}")

    def head(self, key: str, most: int) -> bytes | None:
        """Returns up to `most` first bytes of an object, at least one unless it is empty; None if it does not exist."""
        return self._find(object_keys.check(key, self.url), most)

    def put(self, key: str, data: bytes) -> None:
        """Writes an object, replacing an existing one."""
        self._put(object_keys.check(key, self.url), data)

    def create(self, key: str, data: bytes) -> bool:
        """Writes an object unless it exists; of concurrent writers, exactly one gets True."""
        return self._create(object_keys.check(key, self.url), data)

    def put_folder(self, key: str, folder: Path, extra: Mapping[str, bytes]) -> bool:
        """Writes a folder's files, then its manifest, without which it is invisible; returns False if it exists.

        Keys are content hashes, so files left by an interrupted writer are the same ones.
        """
        if self._exists(object_keys.check(f"{key}/{MANIFEST}", self.url)):
            return False
        files = {n: p for n, p in list_files(folder).items() if n not in extra and n != MANIFEST}
        object_keys.check_all([f"{key}/{name}" for name in [*files, *extra]], self.url)
        with self._explained(f"{self.url}/{key}", _AGAIN):
            at_once(lambda item: self._upload(f"{key}/{item[0]}", item[1]), files.items())
        for name, data in extra.items():
            if name != MANIFEST:
                self.put(f"{key}/{name}", data)
        return self.create(f"{key}/{MANIFEST}", extra.get(MANIFEST) or (folder / MANIFEST).read_bytes())

    def get_folder(self, key: str) -> Path:
        """Returns the folder in this machine's cache, verified by hash; fetches it again if it, or an object of it, was
        changed.

        Resumes an interrupted fetch.

        Raises:
            KitError: the folder does not exist.
            IntegrityError: its content is not what its manifest says.
        """
        there = self._listed(key)
        if MANIFEST not in there:
            raise KitError(
                "is not in the store", where=f"{self.url}/{key}", fix="`llmops models list` shows what is there"
            )
        folder = self.cache / key
        seen = read_json(_seen(folder))
        identity = key.rpartition("/")[2]
        if seen and all(seen[name] == _etag(there, name) for name in seen) and _is_whole(folder, identity):
            return folder
        manifest = self.get(f"{key}/{MANIFEST}")
        if sha256_bytes(manifest) != identity:
            what = f"the manifest was changed: it is not sha256:{identity}"
            raise IntegrityError(what, where=f"{self.url}/{key}", fix=FETCH_ANEW)
        folder.parent.mkdir(parents=True, exist_ok=True)
        incoming = Path(tempfile.mkdtemp(prefix=".incoming-", dir=folder.parent))
        try:
            files = self._fetch(key, manifest, there, incoming, _partial(folder))
        except IntegrityError:
            shutil.rmtree(incoming, ignore_errors=True)
            raise
        except BaseException:
            _keep_for_later(incoming, folder)
            raise
        shutil.rmtree(_partial(folder), ignore_errors=True)
        _replace(folder, incoming)
        _seen(folder).write_text(json.dumps({name: _etag(there, name) for name in [*files, MANIFEST, SIGNATURE]}))
        return folder

    def copies_from(self, source: "RemoteObjects") -> bool:
        """Returns whether the cloud can copy objects from there to here with this process's permissions."""
        return False

    def copy_folder(
        self,
        key: str,
        source: "RemoteObjects",
        source_key: str,
        written: Mapping[str, bytes],
        sign: Callable[[], bytes],
        say: Say,
    ) -> None:
        """Copies a version's files inside the cloud, checks them here, then signs and writes its manifest.

        Files that exist here and match are kept, so that an interrupted copy is resumed. Nothing is signed, and nobody
        sees the folder, before every file here is what the manifest lists: the source's content proves nothing.

        Args:
            key: the folder here.
            source: where it is copied from; see `copies_from`.
            source_key: the folder there.
            written: files that are written and not copied, including the manifest.
            sign: creates the manifest's signature.
            say: called before slow steps.

        Raises:
            IntegrityError: a file is missing, or not what the manifest says; nothing was signed.
        """
        there, where = source._listed(source_key), f"{source.url}/{source_key}"
        listed = files_of(written[MANIFEST], f"{where}/{MANIFEST}")
        object_keys.check_all([f"{key}/{name}" for name in listed], self.url)
        files = {name: entry for name, entry in listed.items() if name not in written}
        _check_sizes(files, there, where)
        here = self._listed(key)
        missing = {name: files[name] for name in files if name not in here}
        present = {name: entry for name, entry in files.items() if name in here}
        missing |= {name: files[name] for name in self._faults(key, present, say)}
        if missing:
            size = sum(entry.size for entry in missing.values())
            say(f"copying {in_words(size)} from {where} to {self.url}, inside the cloud")
        with self._explained(f"{self.url}/{key}", _AGAIN):
            at_once(
                lambda name: self._copy(f"{key}/{name}", source, f"{source_key}/{name}", there[name].etag, files[name]),
                missing,
            )
        for name in written.keys() & listed.keys():
            self.put(f"{key}/{name}", written[name])
        self.verify(key, listed, say)
        self.put(f"{key}/{SIGNATURE}", sign())
        self.create(f"{key}/{MANIFEST}", written[MANIFEST])

    def verify(self, key: str, files: Mapping[str, FileEntry], say: Say) -> None:
        """Checks that a version's files are what its manifest lists, without fetching them if possible.

        Compares the SHA-256 stored by the cloud if there is one. Any other object is read completely without being
        kept; and not again from this machine until it is written again.

        Raises:
            IntegrityError: naming the first file that is missing or differs.
        """
        if errors := self._faults(key, files, say):
            raise next(errors[name] for name in files if name in errors)

    def address(self, key: str) -> str:
        return f"{self.url}/{key}"

    def _faults(self, key: str, files: Mapping[str, FileEntry], say: Say) -> dict[str, IntegrityError]:
        """Returns the files that differ from the manifest, with the reasons."""
        object_keys.check(key, self.url)
        place = ObjectFolder(f"{self.url}/{key}", lambda name: self._stored(f"{key}/{name}"), self._reader(key))
        notes = self.cache / f"{key}{_READ}"
        known = read_json(notes)
        with self._explained(place.where, _AGAIN):
            errors, read = faults(place, files, known, say)
        if read:
            write_json(notes, known | read)
        return errors

    def _reader(self, key: str) -> Callable[[str, Hashed], None]:
        return lambda name, file: self._download(f"{key}/{name}", file)

    @abstractmethod
    def folders(self, prefix: str) -> Iterator[str]:
        """Yields the keys of the folders that begin with a prefix, without their contents; none if the bucket is
        gone.
        """

    @abstractmethod
    def _find(self, key: str, most: int) -> bytes | None:
        """Returns the first bytes of an object's content, at least one and up to `most`; None if it does not exist."""

    @abstractmethod
    def _put(self, key: str, data: bytes) -> None: ...

    @abstractmethod
    def _create(self, key: str, data: bytes) -> bool: ...

    @abstractmethod
    def _entries(self, prefix: str) -> dict[str, Entry]:
        """Returns key -> entry of the objects below a prefix, without placeholders of empty folders."""

    @abstractmethod
    def _exists(self, key: str) -> bool: ...

    @abstractmethod
    def _upload(self, key: str, path: Path) -> None: ...

    @abstractmethod
    def _download(self, key: str, file: Bounded | Hashed) -> None:
        """Downloads an object into an open file, which limits its size, in order if the file is not seekable; raises
        the cloud's own errors.
        """

    @abstractmethod
    def _stored(self, key: str) -> Stored | None:
        """Returns the cloud's metadata of an object; None if it does not exist. Raises the cloud's own errors."""

    @abstractmethod
    def _copy(self, key: str, source: Any, source_key: str, etag: str, entry: FileEntry) -> None:
        """Makes the cloud copy an object for which `copies_from` returned True, if it still has this ETag, without its
        metadata, replacing an existing one. Raises the cloud's own errors.
        """

    @abstractmethod
    def _explained(self, where: str, fix: str = "") -> AbstractContextManager[None]:
        """Turns the cloud's errors in the block into KitErrors."""

    def _listed(self, key: str) -> dict[str, Entry]:
        """Returns name -> entry of the objects below a version's key."""
        prefix = f"{object_keys.check(key, self.url)}/"
        return {each.removeprefix(prefix): entry for each, entry in self._entries(prefix).items()}

    def _fetch(
        self, key: str, manifest: bytes, there: Mapping[str, Entry], folder: Path, partial: Path | None = None
    ) -> dict[str, FileEntry]:
        """Fills an empty folder with the files that a version's manifest lists: from complete files in `partial`, and
        from objects.
        """
        where = f"{self.url}/{key}"
        files = files_of(manifest, f"{where}/{MANIFEST}")
        _check_sizes(files, there, where)
        fresh = FreshFolder(folder)
        have = _taken(partial, files, fresh, where) if partial else set()

        def fetch(name: str) -> None:
            with fresh.create(name, where) as file:
                bounded = Bounded(file, files[name], f"{where}/{name}")
                self._download(f"{key}/{name}", bounded)
                bounded.check()

        with full_disk_explained(self.cache), self._explained(where, _AGAIN):
            at_once(fetch, [name for name in files if name not in have])
            small = {MANIFEST: manifest, SIGNATURE: self.find(f"{key}/{SIGNATURE}")}
            for name, content in small.items():
                if content is not None:
                    with fresh.create(name, where) as file:
                        file.write(content)
        return files


def _check_sizes(files: Mapping[str, FileEntry], there: Mapping[str, Entry], where: str) -> None:
    """Refuses a listing that contradicts the manifest, before anything is fetched."""
    for name, entry in files.items():
        if name not in there:
            raise IntegrityError("is missing, though the manifest lists it", where=f"{where}/{name}", fix=FETCH_ANEW)
        if (size := there[name].size) != entry.size:
            what = f"has {size} bytes, the manifest says {entry.size}"
            raise IntegrityError(what, where=f"{where}/{name}", fix=FETCH_ANEW)


def _taken(partial: Path, files: Mapping[str, FileEntry], fresh: FreshFolder, where: str) -> set[str]:
    """Takes over files of an interrupted fetch that match the manifest."""
    try:
        kept = list_files(partial)
    except IntegrityError:  # a link: none of it is ours
        return set()
    taken: set[str] = set()
    for name, path in kept.items():
        if name in files and path.stat().st_size == files[name].size and sha256_file(path) == files[name].sha256:
            fresh.link(name, path, where)
            taken.add(name)
    return taken


def _is_whole(folder: Path, identity: str) -> bool:
    """Returns whether a folder of the cache is the version in its name."""
    try:
        manifest = (folder / MANIFEST).read_bytes()
        if sha256_bytes(manifest) != identity:
            return False
        check_folder(folder, files_of(manifest, str(folder)))
    except (OSError, IntegrityError):
        return False
    return True


def _replace(folder: Path, incoming: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    try:
        incoming.rename(folder)
    except OSError:
        shutil.rmtree(incoming, ignore_errors=True)
        if not folder.is_dir():  # else another process fetched it meanwhile
            raise


def _keep_for_later(incoming: Path, folder: Path) -> None:
    """Keeps an interrupted fetch for the next one, which resumes it; it includes what earlier ones had fetched."""
    shutil.rmtree(_partial(folder), ignore_errors=True)
    try:
        incoming.rename(_partial(folder))
    except OSError:  # another process was interrupted at the same time
        shutil.rmtree(incoming, ignore_errors=True)


def _partial(folder: Path) -> Path:
    return folder.with_name(f".partial-{folder.name}")


def _etag(there: Mapping[str, Entry], name: str) -> str:
    return there[name].etag if name in there else ""


def _seen(folder: Path) -> Path:
    return folder.with_name(folder.name + _SEEN)
