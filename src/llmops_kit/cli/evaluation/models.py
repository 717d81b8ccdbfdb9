"""The models that `llmops evaluate` can ask: a stored version, the one in production, a Hugging Face folder, an
endpoint's URL.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urldefrag, urlsplit

from llmops_kit.cli.interfaces.platform import Platform, Say
from llmops_kit.core.documents.model import ModelManifest
from llmops_kit.core.errors import KitError, NotFoundError
from llmops_kit.core.integrity.digest import tree_hash
from llmops_kit.core.names import ModelRef, parse_promoted
from llmops_kit.core.twins import is_loopback

PRODUCTION = "production"


@dataclass(frozen=True)
class StoredModel:
    """A version of the stack's store, whose signature was checked."""

    ref: ModelRef
    manifest: ModelManifest
    fetch: Callable[[Say], Path]
    """Returns its folder on this machine, after checking each file; downloads it from a cloud."""

    @property
    def name(self) -> str:
        return self.ref.alias

    @property
    def family(self) -> str:
        """The name shared by its versions."""
        return self.ref.name

    @property
    def sha256(self) -> str:
        return self.ref.sha256

    def system_prompt(self, default: str) -> str:
        """Returns the system prompt that a server prepends; for an imported model, the recipe's."""
        return default if self.manifest.lineage.origin else self.manifest.serving.system_prompt


@dataclass(frozen=True)
class FolderModel:
    """A Hugging Face folder; its identity is the hash of its files."""

    name: str
    """The name as given."""
    folder: Path
    sha256: str
    family = ""

    def fetch(self, say: Say) -> Path:
        """Returns the folder as it is: there is nothing to fetch or to verify."""
        return self.folder

    def system_prompt(self, default: str) -> str:
        """Returns `default`, the recipe's: a folder states none."""
        return default


@dataclass(frozen=True)
class RemoteModel:
    """An OpenAI-compatible endpoint. It has no identity, so its answers are not kept."""

    url: str
    model: str

    @property
    def name(self) -> str:
        return self.model or urlsplit(self.url).netloc


AskedModel = StoredModel | FolderModel | RemoteModel


def find_model(platform: Platform, text: str, cwd: Path, beside: str = "") -> AskedModel:
    """Returns the model named on the command line.

    Args:
        platform: the stack in operation.
        text: NAME@N, `production`, a folder, or http(s)://HOST/v1, with `#MODEL` if the server has several.
        cwd: folders are relative to it.
        beside: the name of the version that production is compared with.

    Raises:
        NotFoundError: the version, folder or production does not exist.
        IntegrityError: the version was changed, or not signed by this stack.
    """
    if text == PRODUCTION:
        ref = production(platform, beside)
        if ref is None:
            raise NotFoundError(
                f"no endpoint serves {beside or 'a version'} yet",
                where=f"stack {platform.outputs.stack}",
                fix="`llmops promote NAME@N && llmops up` deploys one; or name a version: --against NAME@N",
            )
        return stored_model(platform, ref)
    if text.startswith(("http://", "https://")):
        url, model = urldefrag(text)
        if urlsplit(url).scheme == "http" and not is_loopback(url):
            raise KitError("would be sent prompts and key unencrypted", where=url, fix="write an https:// address")
        return RemoteModel(url.rstrip("/").removesuffix("/v1"), model)
    if "@" in text and "/" not in text:
        return stored_model(platform, platform.store().find(text))
    folder = cwd / Path(text).expanduser()
    if folder.is_dir():
        return FolderModel(text, folder.resolve(), _hash_of(folder))
    raise NotFoundError(
        f"{text} is neither a version nor a folder",
        where=str(folder),
        fix="write NAME@N, the path of a Hugging Face folder, an https:// address, or `production`",
    )


def stored_model(platform: Platform, ref: ModelRef) -> StoredModel:
    """Returns a version of the stack's store, after checking its signature.

    Raises:
        IntegrityError: it was changed, or not signed by this stack.
    """
    store, key = platform.store(), platform.outputs.signing.public_key
    manifest = store.signed_manifest(ref, key)
    manifest.require_task(ref.alias, "text-generation")
    return StoredModel(ref, manifest, lambda say: store.verified_folder(ref, key, say))


def production(platform: Platform, model: str, endpoint: str = "") -> ModelRef | None:
    """Returns the version that an endpoint was deployed with; None if there is none.

    Args:
        platform: the stack in operation.
        model: a version's name; selects the endpoint that serves this name, or has it. Empty: any.
        endpoint: the endpoint's name, if it is known.

    Raises:
        KitError: several endpoints serve different versions.
    """
    served = {name: parse_promoted(each.model) for name, each in platform.outputs.endpoints.items()}
    if endpoint:
        return served.get(endpoint)
    found = [name for name, ref in served.items() if model in ("", ref.name)] or [
        name for name in served if name == model
    ]
    if len({served[name] for name in found}) > 1:
        raise KitError(
            f"several endpoints serve {model or 'versions'}: {', '.join(found)}",
            where=f"stack {platform.outputs.stack}",
            fix=f"name the version: --against {served[found[0]].alias}",
        )
    return served[found[0]] if found else None


def _hash_of(folder: Path) -> str:
    """Returns the hash of the files at a folder's top. Follows links, because a hub's snapshot consists of them."""
    return tree_hash({path.name: path for path in folder.iterdir() if path.is_file() and path.name[0] != "."})
