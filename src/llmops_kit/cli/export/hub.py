"""Exports a version as a plain Hugging Face folder: files for `from_pretrained` and a card, without the kit's files."""

import json
import shutil
from pathlib import Path
from typing import Any

from llmops_kit.cli.interfaces.platform import Platform, Say
from llmops_kit.core.documents.model import ModelManifest
from llmops_kit.core.errors import KitError, RefusedError
from llmops_kit.core.integrity.digest import check_folder
from llmops_kit.core.layout import EVALUATION, JUDGEMENTS, METRICS, MODEL_CARD
from llmops_kit.core.names import ModelRef

_OWN_FILES = (EVALUATION, JUDGEMENTS, METRICS)
_OWN_FOLDERS = ("openvino/",)  # optimum-intel creates its own layout from the weights
_ADAPTER_CONFIG = "adapter/adapter_config.json"


def export_hub(platform: Platform, version: str, folder: Path, say: Say) -> ModelRef:
    """Writes a version's safetensors, configuration, tokenizer, chat template, card, licence and, where one was
    trained, its adapter in the folder `adapter`.

    Args:
        platform: the stack whose store has the version. Its signature and every file are checked first.
        version: name@number or name@latest.
        folder: is created; may exist if it is empty.
        say: called before slow steps.

    Raises:
        RefusedError: the folder is not empty.
        IntegrityError, SignatureError: the version was changed, or is not signed by the stack.
        KitError: it is not a model that transformers loads by itself, or the disk is full.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RefusedError("is not an empty folder", where=str(folder), fix="name a folder that does not exist yet")
    store = platform.store()
    ref = store.find(version)
    store.manifest(ref).require_task(ref.alias, "text-generation", "feature-extraction", "token-classification")
    source = store.verified_folder(ref, platform.outputs.signing.public_key, say)
    manifest = store.manifest(ref)
    work = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(work, ignore_errors=True)
    try:
        _copy(source, manifest, work)
        _write_card(work, manifest)
        _name_base(work, _hub_origin(platform, manifest))
        if folder.exists():
            folder.rmdir()
        work.rename(folder)
    except OSError as e:
        raise KitError(
            f"can't be written: {e.strerror or e}", where=str(folder), fix="free the disk, or name another folder"
        ) from e
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return ref


def _copy(source: Path, manifest: ModelManifest, target: Path) -> None:
    """Copies the files that the hub's users need, and checks the copies."""
    wanted = {
        name: entry
        for name, entry in manifest.files.items()
        if name not in _OWN_FILES and not name.startswith(_OWN_FOLDERS)
    }
    for name in wanted:
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, path)
    check_folder(target, wanted)


def _write_card(folder: Path, manifest: ModelManifest) -> None:
    """Writes a card for a version without one, as after an import: https://huggingface.co/docs/hub/model-cards."""
    if (folder / MODEL_CARD).exists():
        return
    origin = manifest.lineage.origin
    fields = {
        "license": manifest.licence.lower() or "unknown",
        "library_name": "transformers",
        "pipeline_tag": manifest.task,
        "tags": ["llmops-kit"],
    }
    front = "".join(f"{name}: {json.dumps(value)}\n" for name, value in sorted(fields.items()))
    made_from = f"Imported from {origin.source} {origin.revision}".rstrip() + "." if origin else ""
    (folder / MODEL_CARD).write_text(f"---\n{front}---\n\n# {manifest.name}\n\n{made_from}\n")


def _hub_origin(platform: Platform, manifest: ModelManifest) -> tuple[str, str]:
    """Returns the hub's name and commit of the base model that the adapter was trained on; empty if it is not from the
    hub, or its version is not in this store.
    """
    store, pinned = platform.store(), manifest.lineage.base_model
    ref = store.find_identity(pinned.name, pinned.sha256) if pinned else None
    origin = store.manifest(ref).lineage.origin if ref else None
    if origin is None or not origin.source.startswith("hub:"):
        return "", ""
    return origin.source.removeprefix("hub:"), origin.revision


def _name_base(folder: Path, origin: tuple[str, str]) -> None:
    """Names the adapter's base model on the hub for peft. Versions name none, since the kit's runs have it in a
    folder.
    """
    path = folder / _ADAPTER_CONFIG
    if not path.exists() or not origin[0]:
        return
    config: dict[str, Any] = json.loads(path.read_text())
    config |= {"base_model_name_or_path": origin[0], "revision": origin[1]}
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
