"""Fetches a model from the Hugging Face hub: `python -m llmops_kit.training.models.hub fetch|outline REQUEST`, which is
JSON.

It is a separate program beside `python -m llmops_kit.training`, which never uses the network.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from llmops_kit.core.errors import KitError
from llmops_kit.core.programs import tell_error

LISTING = ".listing.json"
"""The file that `outline` writes the hub's metadata of a model to: {sizes: {file: bytes}, gated, licence}."""
_REACHABLE = "check that the hub is reachable"


def fetch(repository: str, revision: str, folder: str, patterns: Sequence[str]) -> None:
    """Fetches the files of a repository at a commit whose names match patterns; resumes an interrupted fetch.

    Raises:
        KitError: the hub refuses, or can't be reached.
    """
    from huggingface_hub import snapshot_download

    fix = f"{_REACHABLE}, and for a gated model that HF_TOKEN is set, or the recipe's `token`"
    with _explained("fetched", repository, revision, fix):
        snapshot_download(repository, revision=revision, local_dir=folder, allow_patterns=list(patterns))


def fetch_outline(repository: str, revision: str, folder: str, names: Sequence[str], largest: int) -> None:
    """Fetches the named files of a model, of `largest` bytes at most, and writes `LISTING`.

    Raises:
        KitError: the hub refuses, or can't be reached.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    with _explained("checked", repository, revision, _REACHABLE):
        info = api.model_info(repository, revision=revision, files_metadata=True)
    sizes = {each.rfilename: each.size or 0 for each in info.siblings or []}
    accept = f"accept its licence on https://huggingface.co/{repository}, then set HF_TOKEN to a token of that account"
    with _explained("checked", repository, revision, accept if info.gated else _REACHABLE):
        for name in names:
            if sizes.get(name, largest + 1) <= largest:
                api.hf_hub_download(repository, name, revision=revision, local_dir=folder)
    licence = (info.card_data or {}).get("license") or ""
    listing = {"sizes": sizes, "gated": bool(info.gated), "licence": licence}
    Path(folder, LISTING).write_text(json.dumps(listing))


@contextmanager
def _explained(done: str, repository: str, revision: str, fix: str) -> Iterator[None]:
    try:
        yield
    except Exception as e:  # the client's errors share no class with those of its transport and of the disk
        words = str(e).strip().splitlines() or [type(e).__name__]
        raise KitError(f"can't be {done}: {words[-1]}", where=f"hub:{repository}@{revision}", fix=fix) from e


def main(arguments: Sequence[str]) -> int:
    """Runs a command; returns 0, or 1 after a message on stderr."""
    command, request = arguments
    try:
        {"fetch": fetch, "outline": fetch_outline}[command](*json.loads(request))
    except KitError as e:
        tell_error(e)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
