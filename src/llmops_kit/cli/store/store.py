"""The stack's store of dataset and model versions, over any object store. Layout: core/layout.py."""

import json
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from llmops_kit.cli.store.objects import Objects, Say
from llmops_kit.cli.store.remote_objects import RemoteObjects
from llmops_kit.cli.store.revocations import read_revocations
from llmops_kit.cli.store.versions import FolderVersion, RemoteVersion, Version
from llmops_kit.core import rejections
from llmops_kit.core.documents.dataset import DatasetManifest
from llmops_kit.core.documents.model import ModelManifest
from llmops_kit.core.documents.revocations import Revocations
from llmops_kit.core.documents.store import Alias
from llmops_kit.core.errors import IntegrityError, KitError, NotFoundError, RefusedError
from llmops_kit.core.hashes import sha256_bytes
from llmops_kit.core.integrity.digest import check_folder
from llmops_kit.core.integrity.signing import require_signed
from llmops_kit.core.layout import MANIFEST, SIGNATURE, alias_key, dataset_key, model_key, rejection_log
from llmops_kit.core.names import ModelRef, parse_alias, parse_identity, parse_promoted, require_name
from llmops_kit.core.object_keys import shown
from llmops_kit.core.rejections import now
from llmops_kit.core.validation import did_you_mean

_READERS = 16
Signer = Callable[[Path], object]
"""Writes manifest.json.sig beside the manifest.json of a folder."""


class Store:
    """Versions by identity (the SHA-256 of their manifest), and models also by alias name@number."""

    def __init__(self, objects: Objects) -> None:
        self.objects = objects

    def put_model(
        self,
        version: Path | Version,
        sign: Signer,
        checked: str = "",
        say: Say = lambda _: None,
        written: Mapping[str, bytes] | None = None,
    ) -> ModelRef:
        """Stores a complete model version, signed, under the next free number of its name.

        The same version gets the same alias, however often and from wherever it is put; concurrent writers get
        different numbers. An interruption leaves nothing half-written, and the call can be repeated. A version in the
        same cloud is copied there; any other one comes from, or through, this machine.

        Args:
            version: a folder of this machine, or a version elsewhere.
            sign: the stack's signer.
            checked: the identity that was checked; empty: the caller made the version itself.
            say: called before slow steps.
            written: files that the caller writes over the version's own, with the manifest that lists them.

        Raises:
            IntegrityError: a file is not what the manifest says, or the manifest differs from the checked one.
            KitError: the disk is full, or the location is not a store.
        """
        version = FolderVersion(version) if isinstance(version, Path) else version
        content = version.manifest()
        where = f"{version.where}/{MANIFEST}"
        manifest = ModelManifest.parse(content, where=where)
        if checked and sha256_bytes(content) != checked:
            raise IntegrityError("was changed after it was checked", where=where, fix="find out what else writes there")
        written = {MANIFEST: content, **(written or {})}
        sha256 = sha256_bytes(written[MANIFEST])
        if found := self.find_identity(manifest.name, sha256):
            return found
        self._put_version(version, model_key(sha256), manifest, written, sign, say)
        return self._number(manifest.name, sha256)

    def _put_version(
        self,
        version: Version,
        key: str,
        manifest: ModelManifest,
        written: Mapping[str, bytes],
        sign: Signer,
        say: Say,
    ) -> None:
        objects, content = self.objects, written[MANIFEST]
        if isinstance(version, RemoteVersion):
            if isinstance(objects, RemoteObjects) and objects.copies_from(version.objects):
                objects.copy_folder(key, version.objects, version.key, written, lambda: _signature(content, sign), say)
                return
            say(f"fetching {version.where}: {objects.url} can't copy from there by itself")
            version = FolderVersion(version.objects.get_folder(version.key))
        assert isinstance(version, FolderVersion)
        check_folder(version.folder, manifest.files)
        objects.put_folder(key, version.folder, {**written, SIGNATURE: _signature(content, sign)})

    def find(self, text: str) -> ModelRef:
        """Returns a model version by `name@3`, `name@latest`, `name@3@sha256:…` or `name@sha256:…`.

        Raises:
            KitError: it is not in the store, or the alias belongs to another identity.
            IntegrityError: the version's manifest has another name than the alias.
        """
        if known := parse_identity(text):
            found = self.require_identity(*known)
            self.manifest(found)
            return found
        promoted = parse_promoted(text) if "@sha256:" in text else None
        name, number = (promoted.name, promoted.number) if promoted else parse_alias(text)
        there = self.versions(name)
        match = [a for a in there if a.number == number] if number else there[-1:]
        if not match:
            held = ", ".join(f"{a.name}@{a.number}" for a in (there or self.versions())[-8:]) or "no model version"
            what = f"model version {name}@{number or 'latest'} is not in the store, which holds {held}"
            raise self.no_version(name, what)
        found = ModelRef(match[0].name, match[0].number, match[0].sha256)
        if promoted and promoted.sha256 != found.sha256:
            raise KitError(
                f"{found.alias} is sha256:{found.sha256[:12]}… in the store, not sha256:{promoted.sha256[:12]}…",
                where=self.objects.url,
                fix=f"`llmops promote {found.alias}` writes the alias and identity that belong together",
            )
        self.manifest(found)
        return found

    def no_version(self, name: str, what: str) -> NotFoundError:
        """Returns the error for a version that is not in the store, suggesting the closest name, or how to make one."""
        names = {a.name for a in self.versions()}
        meant = "" if name in names else did_you_mean(name, names)
        make = "`llmops train` makes a version, `llmops models import` brings one in"
        return NotFoundError(what, where=self.objects.url, fix=meant or make)

    def require_identity(self, name: str, sha256: str) -> ModelRef:
        """Returns a model version by its name and identity.

        Raises:
            KitError: the store has no alias of it.
        """
        if found := self.find_identity(name, sha256):
            return found
        raise NotFoundError(
            f"model version {name} sha256:{sha256[:12]}… is not in the store",
            where=self.objects.url,
            fix="`llmops models list` shows what is there",
        )

    def versions(self, name: str = "") -> list[Alias]:
        """Returns the aliases in the order of names and numbers; of one name, or of all."""
        keys = self.objects.list(f"aliases/models/{name}/" if name else "aliases/models/")
        with ThreadPoolExecutor(_READERS) as pool:  # each is a slow request to a bucket
            texts = pool.map(self.objects.get, keys)
            found = [self._alias(key, text) for key, text in zip(keys, texts, strict=True)]
        return sorted(found, key=lambda a: (a.name, a.number))

    def manifest(self, ref: ModelRef) -> ModelManifest:
        """Returns a version's manifest, checked against its identity and its alias; `signed_manifest` checks who signed
        it.

        Raises:
            IntegrityError: it was changed, or has another name than the alias.
        """
        return self._read_manifest(ref, self.objects.get(f"{model_key(ref.sha256)}/{MANIFEST}"))

    def signed_manifest(self, ref: ModelRef, public_key: str) -> ModelManifest:
        """Returns a version's manifest, which the stack signed. Its files are not checked.

        Raises:
            IntegrityError: it was changed, or has another name than the alias; the list of revocations can't be read.
            SignatureError: it is unsigned, or signed by a key that is revoked, or that the stack does not trust.
            RefusedError: it is revoked.
        """
        revoked = self.require_not_revoked(ref, public_key)
        content, signature = (self.objects.get(f"{model_key(ref.sha256)}/{name}") for name in (MANIFEST, SIGNATURE))
        where = f"{self.objects.url}/{model_key(ref.sha256)}/{SIGNATURE}"
        require_signed(content, signature, public_key, where, revoked.keys)
        return self._read_manifest(ref, content)

    def require_not_revoked(self, ref: ModelRef, public_key: str) -> Revocations:
        """Returns the list of revocations, after checking that the version is not on it.

        Raises:
            IntegrityError: the list can't be read.
            RefusedError: the version is revoked.
        """
        revoked = read_revocations(self.objects, public_key)
        if entry := revoked.find("version", f"sha256:{ref.sha256}"):
            raise RefusedError(
                f"{ref.alias} was revoked by {entry.by or 'somebody'} at {entry.at}: {entry.reason}",
                where=f"{self.objects.url}/revoked",
                fix="promote another version",
            )
        return revoked

    def _read_manifest(self, ref: ModelRef, content: bytes) -> ModelManifest:
        where = f"{self.objects.url}/{model_key(ref.sha256)}/{MANIFEST}"
        if sha256_bytes(content) != ref.sha256:
            raise IntegrityError(
                f"the manifest of {ref.alias} was changed: it is not sha256:{ref.sha256}",
                where=where,
                fix="bring the version in again, or promote another one",
            )
        manifest = ModelManifest.parse(content, where)
        require_name(ref.alias, manifest.name, where)
        return manifest

    def require_nothing_else(self, ref: ModelRef) -> None:
        """Checks that a version's manifest lists all files below its key: a fetch ignores others, but an endpoint that
        mounts the folder sees them, and does not start.

        Raises:
            IntegrityError: there are some; names the first few.
        """
        key = model_key(ref.sha256)
        known = {f"{key}/{name}" for name in [*self.manifest(ref).files, MANIFEST, SIGNATURE]}
        if more := sorted(set(self.objects.names(f"{key}/")) - known):
            names = ", ".join(shown(each.removeprefix(f"{key}/")) for each in more[:3])
            raise IntegrityError(
                f"has {len(more)} objects that its manifest does not list: {names}",
                where=f"{self.objects.url}/{key}",
                fix="find out who wrote them, and remove them from the store",
            )

    def verify_model(self, ref: ModelRef, public_key: str, say: Say) -> ModelManifest:
        """Returns a version's manifest, after checking its signature, its identity and each of its files in their
        place.

        Args:
            ref: the version.
            public_key: the stack's key, or several.
            say: called with the method of checking files.

        Raises:
            IntegrityError: the manifest or a file was changed, or it has another name than the alias.
            SignatureError: it is unsigned, or signed by another key.
        """
        manifest = self.signed_manifest(ref, public_key)
        self.objects.verify(model_key(ref.sha256), manifest.files, say)
        return manifest

    def verified_folder(self, ref: ModelRef, public_key: str, say: Say) -> Path:
        """Returns a model version's files on this machine, after `verify_model`; they must not be modified."""
        self.verify_model(ref, public_key, say)
        return self.model_folder(ref.sha256)

    def version(self, ref: ModelRef) -> Version:
        """Returns a version to be read in place: in a folder of this machine, or in a cloud's storage."""
        key = model_key(ref.sha256)
        if isinstance(self.objects, RemoteObjects):
            return RemoteVersion(self.objects, key)
        return FolderVersion(self.objects.get_folder(key))

    def address(self, ref: ModelRef) -> str:
        """Returns a version's address for other programs: a path of this machine, or a URL."""
        return self.objects.address(model_key(ref.sha256))

    def model_folder(self, sha256: str) -> Path:
        """Returns a model version's files on this machine, which must not be modified; from a cloud all of them are
        fetched.
        """
        return self.objects.get_folder(model_key(sha256))

    def of_run(self, name: str, run: str) -> ModelRef | None:
        """Returns the version made by a run, once it was collected: the first, since `llmops models convert` repeats
        the lineage.
        """
        for alias in self.versions(name):
            ref = ModelRef(alias.name, alias.number, alias.sha256)
            if self.manifest(ref).lineage.run == run:
                return ref
        return None

    def put_dataset(self, folder: Path) -> str:
        """Stores a dataset version; returns its identity."""
        content = FolderVersion(folder).manifest()
        manifest = DatasetManifest.parse(content, where=str(folder / MANIFEST))
        check_folder(folder, manifest.files)
        sha256 = sha256_bytes(content)
        self.objects.put_folder(dataset_key(sha256), folder, {})
        return sha256

    def dataset_folder(self, sha256: str) -> Path:
        """Returns a dataset version's files on this machine, which must not be modified."""
        return self.objects.get_folder(dataset_key(sha256))

    def append(self, log: str, entry: dict[str, str]) -> None:
        """Adds an entry to a log of the store, such as an endpoint's promotions."""
        rejections.append(log, entry, self._entries, self.objects.create)

    def read_log(self, log: str) -> list[dict[str, str]]:
        """Returns a log's entries, oldest first."""
        return [json.loads(self.objects.get(key)) for key in self.objects.list(f"{log}/")]

    def rejection(self, sha256: str) -> str:
        """Returns why a version was rejected (a rollout of it was rolled back); empty if it was not, or was cleared."""
        keys = self.objects.list(f"{rejection_log(sha256)}/")
        entry = rejections.rejection(sha256, lambda key: self.objects.get(key) if key in keys else None)
        return "" if entry is None else entry.get("why", "it was rolled back")

    def rejections(self) -> dict[str, str]:
        """Returns identity -> reason of all rejected versions."""
        keys = self.objects.list("rejections/")
        found = {sha256: self.rejection(sha256) for sha256 in sorted({key.split("/")[1] for key in keys})}
        return {sha256: why for sha256, why in found.items() if why}

    def clear(self, ref: ModelRef, why: str) -> None:
        """Allows a rejected version to be promoted again; the log keeps its history."""
        rejections.clear(ref.sha256, why, self._entries, self.objects.create)

    def reject(self, ref: ModelRef, why: str, endpoint: str) -> None:
        """Marks a version as rejected, because a rollout of an endpoint to it was rolled back."""
        rejections.reject(ref.sha256, why, endpoint, self._entries, self.objects.create)

    def _entries(self, log: str) -> int:
        return len(self.objects.list(f"{log}/"))

    def _alias(self, key: str, text: bytes) -> Alias:
        alias = Alias.parse(text, where=f"{self.objects.url}/{key}")
        if alias_key(alias.name, alias.number) != key:
            raise IntegrityError(
                f"claims to be the alias {alias.name}@{alias.number}",
                where=f"{self.objects.url}/{key}",
                fix="remove it: the kit did not write it, so find out who else can write to the store",
            )
        return alias

    def find_identity(self, name: str, sha256: str) -> ModelRef | None:
        """Returns a version by its name and identity; None if the store has no alias of it."""
        for alias in self.versions(name):
            if alias.sha256 == sha256:
                return ModelRef(alias.name, alias.number, alias.sha256)
        return None

    def _number(self, name: str, sha256: str) -> ModelRef:
        """Takes the next number. A writer that loses the race checks again, because the winner may have put the same
        version.
        """
        while True:
            taken = self.versions(name)  # listed once for both uses: the winner may put the same version in between
            if found := next((a for a in taken if a.sha256 == sha256), None):
                return ModelRef(name, found.number, sha256)
            number = taken[-1].number + 1 if taken else 1
            alias = Alias.new(name=name, number=number, sha256=sha256, created=now())
            if self.objects.create(alias_key(name, number), alias.to_json().encode()):
                return ModelRef(name, number, sha256)


def _signature(manifest: bytes, sign: Signer) -> bytes:
    """Signs in a temporary folder, leaving the original folder unchanged."""
    with tempfile.TemporaryDirectory() as temporary:
        (Path(temporary) / MANIFEST).write_bytes(manifest)
        sign(Path(temporary))
        return (Path(temporary) / SIGNATURE).read_bytes()
