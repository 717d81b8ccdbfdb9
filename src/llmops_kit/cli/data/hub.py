"""Sources on the Hugging Face hub: `hub:org/name`, a dataset at a commit. Its loading script is never fetched."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llmops_kit.cli.data.globs import choose
from llmops_kit.cli.data.items import Item, Partial, SourceContext
from llmops_kit.core.documents.recipe_data import DataSource
from llmops_kit.core.errors import IntegrityError, KitError, require_packages
from llmops_kit.core.hashes import sha256_file


def find_on_hub(source: DataSource, context: SourceContext) -> Iterator[Item]:
    """Yields the files of a dataset at its commit, by the source's `files`.

    Raises:
        DataError: it has no such file, or one of them may be a pickle.
        KitError: the hub refuses, or can't be reached.
    """
    require_packages("data", "huggingface_hub")
    require_packages("data", "huggingface_hub")
    from huggingface_hub import HfApi
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    name = source.source.removeprefix("hub:")
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, token=context.token(source) or None)
    with _explained(source.source):
        found = api.dataset_info(name, revision=source.revision, files_metadata=True)
    files = {each.rfilename: each for each in found.siblings or []}
    for key in choose(files, source.files, source.source):
        url = f"{api.endpoint}/datasets/{name}/resolve/{source.revision}/{key}"
        yield Item(key, url, _fetcher(api, name, source.revision, files[key]), source.revision)


def _fetcher(api: Any, name: str, revision: str, file: Any):
    from huggingface_hub.utils.tqdm import tqdm

    def fetch(partial: Partial, _known: str) -> str:
        class Watched(tqdm):
            """A progress bar that draws nothing: the hub's client reports each piece to it, and stops if it raises."""

            def update(self, n: float | None = 1) -> None:
                partial.advance(int(n or 0))

        partial.check_size(file.size or 0)
        folder = partial.path.with_name(f"{partial.path.name}.hub")
        with _explained(f"hub:{name}: {file.rfilename}"):
            # It resumes by itself, from partial files in the folder's .cache.
            place = {"repo_type": "dataset", "revision": revision, "local_dir": folder}
            path = api.hf_hub_download(name, file.rfilename, tqdm_class=Watched, **place)
        if file.lfs and sha256_file(Path(path)) != file.lfs.sha256:
            what = "differs from the SHA-256 that the hub lists"
            raise IntegrityError(what, where=f"hub:{name}: {file.rfilename}", fix="repeat the command")
        partial.check_size(Path(path).stat().st_size)
        Path(path).replace(partial.path)
        return revision

    return fetch


@contextmanager
def _explained(where: str) -> Iterator[None]:
    import httpx
    from huggingface_hub.errors import HfHubHTTPError

    try:
        yield
    except (HfHubHTTPError, httpx.HTTPError, OSError, ValueError, KeyError, TypeError) as e:
        words = [line.strip() for line in str(e).splitlines() if line.strip()]
        raise KitError(
            f"can't be fetched: {words[0] if words else type(e).__name__}",
            where=where,
            fix="check that the hub is reachable, and for a gated dataset that HF_TOKEN or the source's `token` is set",
        ) from e
