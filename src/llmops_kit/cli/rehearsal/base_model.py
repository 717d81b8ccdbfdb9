"""A rehearsal's base model: imported once per machine, since a rehearsal itself has no network."""

from pathlib import Path
from typing import cast

from llmops_kit.cli.interfaces.platform import Platform, Say
from llmops_kit.cli.store.store import Store
from llmops_kit.core.documents.recipe import Recipe
from llmops_kit.core.documents.store import StoreDocument
from llmops_kit.core.layout import cache_dir


class _Shelf:
    """A store of this machine with a separate signing key; nothing is served from it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def store(self) -> Store:
        """Returns the store in the folder, created if missing."""
        from llmops_kit.cli.store.objects import FolderObjects

        document = self._folder / "store" / "store.json"
        if not document.exists():
            document.parent.mkdir(parents=True, exist_ok=True)
            StoreDocument.new(stack="rehearsal").write(document)
        return Store(FolderObjects(document.parent))

    def sign(self, folder: Path) -> None:
        """Signs a version's manifest with the key of this store."""
        from llmops_kit.core.integrity.signing import make_key, sign

        key = self._folder / "signing.pem"
        make_key(key)
        sign(folder, key)


def base_version(recipe: Recipe, relative_to: Path, say: Say) -> Path:
    """Returns the base version's folder, read-only; fetches and converts it if missing, and shows progress.

    Raises:
        KitError: it can't be fetched, or can't be trained.
    """
    from llmops_kit.cli.importing.importing import import_model

    shelf = _Shelf(cache_dir() / "rehearsal")
    ref = import_model(cast(Platform, shelf), recipe.base_model, say, relative_to)
    return shelf.store().model_folder(ref.sha256)
