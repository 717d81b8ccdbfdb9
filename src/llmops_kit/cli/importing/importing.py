"""Imports a base model: fetches it, converts it in the training image, signs and stores it; once for each source and
revision.

All of it happens on this machine, whatever the target: the training image runs as a process here.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from pydantic import ValidationError

from llmops_kit.cli.images.image_program import run_in_image
from llmops_kit.cli.interfaces.platform import Platform, Say
from llmops_kit.cli.store.packages import fetch_package, locked_version
from llmops_kit.cli.store.store import Store
from llmops_kit.core.documents.recipe import BaseModelSource
from llmops_kit.core.errors import KitError
from llmops_kit.core.hashes import sha256_bytes, sha256_file
from llmops_kit.core.layout import cache_dir
from llmops_kit.core.names import ModelRef
from llmops_kit.core.validation import message_of
from llmops_kit.training.models.importing import LICENCE_FILES, source_files

# Weights, tokenizer and documentation; never a pickle or code.
HUB_PATTERNS = ("*.safetensors", "*.json", "*.txt", "*.jinja", "*.model", "README.md", *LICENCE_FILES)


@dataclass(frozen=True)
class Fetched:
    """The result of fetching a source."""

    path: Path
    origin: str
    revision: str


def import_model(
    platform: Platform, wanted: BaseModelSource, say: Say, relative_to: Path, openvino: bool | None = None
) -> ModelRef:
    """Returns the version of a base model in the store; imports it if it is missing.

    Args:
        platform: the stack in operation.
        wanted: name, source, revision and licence.
        say: called with a line for each step.
        relative_to: a `folder:` is relative to it.
        openvino: whether an imported model gets the form for CPUs; None: by its size.

    Raises:
        KitError: it can't be fetched, or is not a model that can be trained; with location and fix.
    """
    store = platform.store()
    kind, _, place = wanted.source.partition(":")
    if kind == "store":
        return store.find(place)
    wanted.require_commit("revision")
    template = find_template(wanted, relative_to)
    with work_folder() as work:
        revision = wanted.revision or (locked_version(place) if kind == "package" else "")
        if kind != "folder" and (found := find_import(store, wanted, revision, template)):
            say(f"base model {found.alias} is in the store")
            return found
        if kind == "folder":
            fetched = Fetched(
                find_source(relative_to / Path(place).expanduser()), f"folder:{Path(place).name}", revision
            )
            if found := _find_files(store, wanted.name, fetched.path, template):
                say(f"base model {found.alias} is in the store")
                return found
        else:
            say(f"fetching {wanted.source} {revision}")
            if kind == "hub":
                token = platform.secret(wanted.token.removeprefix("secret:")) if wanted.token else ""
                path = _hub_folder(place, revision)
                fetch_hub(place, revision, work, say, token, HUB_PATTERNS, target=path)
            else:
                path = fetch_gguf(place, revision, work)
            fetched = Fetched(path, wanted.source, revision)
        version = convert(fetched, wanted, openvino, work, say, template)
        found = store.put_model(version, platform.sign)
    if kind == "hub":
        shutil.rmtree(_hub_folder(place, revision), ignore_errors=True)
    say(f"base model {found.alias} stored, sha256:{found.sha256[:12]}")
    return found


def add_openvino(platform: Platform, ref: ModelRef, say: Say) -> ModelRef:
    """Returns the next version of a name, which adds the form for CPUs to a version.

    Its scores, gate and lineage are those of the original version, as its weights are.

    Args:
        platform: the stack in operation.
        ref: the version; returned unchanged if it has the form.
        say: called with a line for each step.

    Raises:
        KitError: it scores translations, or its architecture has no conversion.
        IntegrityError: the version was changed, or the stack did not sign it.
    """
    store = platform.store()
    manifest = store.signed_manifest(ref, platform.outputs.signing.public_key)
    if manifest.task == "translation-scoring":
        raise KitError(
            "scores translations, for which there is no OpenVINO form: PyTorch runs it on CPUs",
            where=ref.alias,
            fix="convert a version that answers, embeds or labels tokens",
        )
    if "openvino" in manifest.engines:
        say(f"{ref.alias} has OpenVINO's form")
        return ref
    with work_folder() as work:
        version = work / "version"
        command = ("-m", "llmops_kit.training", "convert", store.model_folder(ref.sha256), version)
        run_in_image("training", *command, work=work, say=say, label=ref.alias, what="the conversion ended")
        made = store.put_model(version, platform.sign, say=say)
    say(f"{made.alias} is {ref.alias} with OpenVINO's form")
    return made


def find_template(wanted: BaseModelSource, relative_to: Path) -> Path | None:
    """Returns the file of the chat template that a source takes instead of the model's own; None if it keeps that.

    Args:
        relative_to: the template's path is relative to it.

    Raises:
        KitError: there is no such file, or it is not UTF-8.
    """
    if not wanted.chat_template:
        return None
    path = relative_to / wanted.chat_template
    try:
        path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        what = "is not UTF-8" if isinstance(e, UnicodeDecodeError) else f"can't be read: {e.strerror}"
        fix = "`chat_template` is a file of jinja2, relative to the recipe (or to where you are)"
        raise KitError(what, where=str(path), fix=fix) from None
    return path.resolve()


def parse_source(name: str, source: str, revision: str, licence: str, chat_template: str = "") -> BaseModelSource:
    """Returns a source from the words on a command line.

    Raises:
        KitError: a word is invalid.
    """
    try:
        return BaseModelSource(
            name=name, source=source, revision=revision, licence=licence, chat_template=chat_template
        )
    except ValidationError as e:
        first = e.errors()[0]
        place = ".".join(str(p) for p in first["loc"])
        raise KitError(
            message_of(first),
            where=place,
            fix="a source is package:<name>, hub:<org/name> or folder:<path>; a name has small letters, digits, dashes",
        ) from None


def find_import(store: Store, wanted: BaseModelSource, revision: str, template: Path | None) -> ModelRef | None:
    """Returns the newest version imported from a source at a revision, with a chat template; None if there is none."""
    sha256 = sha256_file(template) if template else ""
    for alias in reversed(store.versions(wanted.name)):
        ref = ModelRef(alias.name, alias.number, alias.sha256)
        origin = store.manifest(ref).lineage.origin
        if origin and (origin.source, origin.revision, origin.chat_template) == (wanted.source, revision, sha256):
            return ref
    return None


def _find_files(store: Store, name: str, source: Path, template: Path | None) -> ModelRef | None:
    """Returns the version made from the same files, because a folder has no trustworthy revision; None if there is
    none.
    """
    sha256 = sha256_file(template) if template else ""
    files = source_files(source)
    hashes: dict[str, str] = {}
    for alias in reversed(store.versions(name)):
        ref = ModelRef(alias.name, alias.number, alias.sha256)
        origin = store.manifest(ref).lineage.origin
        if (
            not origin
            or origin.chat_template != sha256
            or {n: f.stat().st_size for n, f in files.items()} != {n: e.size for n, e in origin.files.items()}
        ):
            continue
        hashes = hashes or {n: sha256_file(f) for n, f in files.items()}
        if hashes == {n: e.sha256 for n, e in origin.files.items()}:
            return ref
    return None


def find_source(path: Path) -> Path:
    """Returns the path of a `folder:`.

    Raises:
        KitError: it does not exist.
    """
    if not path.exists():
        raise KitError(
            "there is no such folder",
            where=str(path),
            fix="a `folder:` is relative to the recipe (or to where you are)",
        )
    return path.resolve()


@contextmanager
def work_folder() -> Iterator[Path]:
    """Yields a folder for some gigabytes, in the cache because /tmp may be small. Removes those left by killed
    imports.
    """
    base = cache_dir() / "work"
    for left in base.glob("import-*-*"):
        pid = left.name.split("-")[1]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(left, ignore_errors=True)
    base.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"import-{os.getpid()}-", dir=base) as temporary:
        yield Path(temporary)


def convert(
    fetched: Fetched,
    wanted: BaseModelSource,
    openvino: bool | None,
    work: Path,
    say: Say,
    template: Path | None = None,
) -> Path:
    """Makes an unsigned model version of fetched files, in the training image.

    Args:
        fetched: a GGUF file, or a Hugging Face folder.
        wanted: name, source, revision and licence.
        openvino: whether it gets the form for CPUs; None: by its size.
        work: the caller's own folder, in which the version is made.
        say: called with a line for each step.
        template: the chat template to take instead of the model's own.

    Returns:
        The version's folder.

    Raises:
        KitError: not a causal language model with a chat template and safe weights.
    """
    version = work / "version"
    run_in_image(
        "training",
        *("-m", "llmops_kit.training", "import", fetched.path, version, "--name", wanted.name),
        *("--source", fetched.origin, "--revision", fetched.revision, "--licence", wanted.licence),
        *(() if openvino is None else ("--openvino",) if openvino else ("--no-openvino",)),
        *(("--chat-template", template) if template else ()),
        work=work,
        say=say,
        label="import",
        what="the import ended",
    )
    return version


def fetch_gguf(name: str, version: str, work: Path) -> Path:
    """Returns the one GGUF file of a package, fetched into the folder `work`.

    Raises:
        KitError: there is no such package, or it has another number of GGUF files.
    """
    target = fetch_package(name, version, work)
    found = [p for p in target.rglob("*.gguf") if p.is_file() and not p.is_symlink()]
    if len(found) != 1:
        raise KitError(
            f"package {name} {version} holds {len(found)} GGUF files, not one",
            where=f"package:{name}",
            fix="import the model as hub:<org/name> or folder:<path>",
        )
    return found[0]


def fetch_hub(
    repository: str, revision: str, work: Path, say: Say, token: str, patterns: Sequence[str], target: Path
) -> None:
    """Fetches files of a hub's repository in the training image; resumes an interrupted fetch.

    Args:
        repository: org/name.
        revision: a commit.
        work: the process's own folder.
        say: called with its progress lines.
        token: for a gated model; may be empty.
        patterns: of the files' names.
        target: receives the files.

    Raises:
        KitError: they can't be fetched.
    """
    argument = json.dumps([repository, revision, str(target), patterns])
    network = hub_environ()
    if token:
        network["HF_TOKEN"] = token
    command = ("training", "-m", "llmops_kit.training.models.hub", "fetch", argument)
    run_in_image(*command, label="import", work=work, say=say, extra=network, what="fetching it ended")
    shutil.rmtree(target / ".cache", ignore_errors=True)


def hub_environ() -> dict[str, str]:
    """Returns the hub's address and token, proxies and certificates from this environment, for steps that may use the
    network.
    """
    return {k: v for k, v in os.environ.items() if k.startswith(("HF_", "SSL_")) or k.lower().endswith("_proxy")}


def _hub_folder(repository: str, revision: str) -> Path:
    return cache_dir() / "downloads" / sha256_bytes(f"{repository}@{revision}".encode())[:20]
