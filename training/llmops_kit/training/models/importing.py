"""`python -m llmops_kit.training import`: converts a base model into a complete, unsigned model version."""

import json
import os
import re
import shutil
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from llmops_kit.core.documents.dataset import FileEntry
from llmops_kit.core.documents.model import CometForm, Lineage, ModelManifest, Origin
from llmops_kit.core.errors import KitError
from llmops_kit.core.hashes import sha256_file
from llmops_kit.core.integrity.digest import check_folder, file_entries
from llmops_kit.core.layout import MANIFEST, SIGNATURE
from llmops_kit.training.models.comet_checkpoint import CHECKPOINT, check_comet, is_comet, store_comet_model
from llmops_kit.training.models.embedding import embedding_of, store_embedding_model
from llmops_kit.training.models.from_gguf import read_fields, read_gguf
from llmops_kit.training.models.golden import ANY_ANSWER
from llmops_kit.training.models.weights import is_token_classifier
from llmops_kit.training.process import say

LICENCE_FILES = ("LICEN[CS]E*", "NOTICE*")
"""Files that must be distributed along with the weights; trained versions get those of their base."""
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle", "*.msgpack", "*.h5")
"""Patterns of weight files that can run code when they are loaded, or that the kit can't read."""


def import_model(
    source: Path,
    target: Path,
    *,
    name: str,
    origin: str = "",
    revision: str = "",
    licence: str = "",
    openvino: bool | None = None,
    chat_template: Path | None = None,
) -> str:
    """Checks a base model and converts it.

    Args:
        source: a GGUF file, a folder with one GGUF file, a Hugging Face folder with safetensors, or COMET's layout with
            its encoder's configuration and tokenizer.
        target: the version's folder; must not exist.
        name: the version's name in a store.
        origin: where the files come from, in the recipe's form; default `folder:<source>`.
        revision: commit or package version.
        licence: SPDX identifier; default: the source's own.
        openvino: whether it gets OpenVINO's form; None: by its size.
        chat_template: a file with a chat template to use instead of the model's own.

    Returns:
        The version's identity.

    Raises:
        KitError: neither a causal language model with a chat template, nor an embedding model, nor a model that labels
            tokens or scores translations, or without safe weights; nothing is left at `target`.
    """
    if target.exists():
        raise KitError("exists already", where=str(target), fix="give a folder that does not exist")
    target.parent.mkdir(parents=True, exist_ok=True)
    work = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        say(stage="read")
        found = find_source(source)
        fields = read_fields(found) if found.is_file() else {}
        licence = licence or (licence_of(found) if found.is_dir() else spdx(str(fields.get("general.license", ""))))
        if not licence:
            raise _no_licence(source)
        does, tools = _convert_any(found, fields, work, openvino, chat_template)
        _copy_licences(found, work)
        made_from = Origin(
            source=origin or f"folder:{source.name}",
            revision=revision,
            files=_entries(found),
            chat_template=sha256_file(chat_template) if chat_template else "",
            tools=tools,
        )
        say(stage="manifest")
        from llmops_kit.training.models.manifests import write_manifest

        identity = write_manifest(work, name=name, licence=licence, lineage=Lineage(origin=made_from), **does)
        work.rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    say(stage="done", sha256=identity)
    return identity


def _no_licence(source: Path) -> KitError:
    fix = "specify it: --licence, or base_model.licence in the recipe; LicenseRef-Proprietary for your own"
    return KitError("states no licence", where=str(source), fix=fix)


def add_openvino(version: Path, target: Path) -> str:
    """Copies a version, and adds the form that a CPU serves. Changes nothing else, so that equal versions give equal
    results.

    Args:
        version: a version without the form.
        target: the new version's folder, unsigned; must not exist.

    Returns:
        The new version's identity.

    Raises:
        KitError: the architecture has no conversion, or the version would run code; nothing is left at `target`.
        IntegrityError: a file differs from the manifest.
    """
    from llmops_kit.training.models.openvino_form import export_openvino

    manifest = ModelManifest.load(version / MANIFEST)
    check_folder(version, manifest.files)
    _check_folder(version)
    work = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        shutil.copytree(version, work, ignore=shutil.ignore_patterns(MANIFEST, SIGNATURE))
        work.chmod(0o755)
        say(stage="openvino")
        export_openvino(work)
        engines = ["openvino", *manifest.engines]
        manifest.model_copy(update={"engines": engines, "files": file_entries(work)}).write(work / MANIFEST)
        identity = sha256_file(work / MANIFEST)
        work.rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return identity


def find_source(source: Path) -> Path:
    """Returns the GGUF file, the Hugging Face folder, or the folder of COMET's layout, that `source` names.

    Raises:
        KitError: neither, or one that would run code when it is loaded.
    """
    if source.is_file() and source.suffix == ".gguf":
        return source
    if not source.is_dir():
        raise KitError(
            "is neither a GGUF file nor a folder", where=str(source), fix="give a .gguf file or a Hugging Face folder"
        )
    if is_comet(source):
        check_comet(source)
        refuse_code(source)
        return source
    if not (source / "config.json").exists():
        found = sorted(source.glob("*.gguf"))
        if len(found) == 1:
            return found[0]
        raise KitError(
            f"holds no config.json and {len(found)} GGUF files, so it is not a model",
            where=str(source),
            fix="give a Hugging Face folder, or one .gguf file",
        )
    _check_folder(source)
    return source


def _check_folder(folder: Path) -> None:
    """Refuses code, pickles, and models that neither generate text, make embeddings nor label tokens, before anything
    is loaded.
    """
    refuse_code(folder)
    if not list(folder.glob("*.safetensors")):
        pickles = sorted(p.name for pattern in PICKLES for p in folder.glob(pattern))
        found = f"only {', '.join(pickles)}, which can run code when loaded" if pickles else "no weights"
        raise KitError(
            f"holds {found}",
            where=str(folder),
            fix="take a revision with safetensors, or convert it on an isolated machine",
        )
    config = _read_json(folder / "config.json")
    kinds = config.get("architectures") or []
    known = any(str(kind).endswith(("ForCausalLM", "LMHeadModel", "ForTokenClassification")) for kind in kinds)
    if not known and embedding_of(folder) is None:
        raise KitError(
            "is neither a causal language model, an embedding model with modules.json, nor one that labels tokens: its "
            "architecture is "
            f"{', '.join(map(str, kinds)) or 'not stated'}",
            where=f"{folder / 'config.json'}: architectures",
            fix="take a text generation model, for example HuggingFaceTB/SmolLM2-135M-Instruct; to find personal data, "
            "one for token classification",
        )
    if "quantization_config" in config:
        raise KitError(
            "is quantised, so it can't be fine-tuned and merged exactly",
            where=f"{folder / 'config.json'}: quantization_config",
            fix="take the unquantised revision",
        )


def _convert_any(
    source: Path, fields: Mapping[str, Any], work: Path, openvino: bool | None, chat_template: Path | None
) -> tuple[dict[str, Any], bool | None]:
    """Writes a model of any kind; `fields` are those of a GGUF file.

    Returns:
        The manifest's fields on the model's task, and whether its chat template takes tools.
    """
    if chat_template and (
        is_comet(source) or (source.is_dir() and (embedding_of(source) or is_token_classifier(source)))
    ):
        raise KitError(
            "generates no text, so it has no chat template", where=str(source), fix="leave chat_template out"
        )
    if is_comet(source):
        comet = _convert_comet(source, work, openvino)
        return {"golden": [], "task": "translation-scoring", "comet": comet, "dtype": "F32"}, None
    if source.is_dir() and (form := embedding_of(source)):
        dtype = _convert_embedding(source, work, openvino)
        return {"golden": [], "task": "feature-extraction", "embedding": form, "dtype": dtype}, None
    if source.is_dir() and is_token_classifier(source):
        _convert_labeller(source, work, openvino)
        return {"golden": [], "task": "token-classification", "dtype": "F32"}, None
    return {"golden": [ANY_ANSWER]}, _convert(source, fields, work, openvino, chat_template)


def _convert(
    source: Path, fields: Mapping[str, Any], work: Path, openvino: bool | None, chat_template: Path | None
) -> bool:
    """Writes weights, tokenizer and, if wanted, OpenVINO's form.

    Returns:
        Whether the chat template takes tools.
    """
    from llmops_kit.training.data.chat import check_template
    from llmops_kit.training.data.templates import report_of
    from llmops_kit.training.models.openvino_form import export_openvino, is_wanted
    from llmops_kit.training.models.weights import load_model, load_tokenizer, save_model

    if source.is_file():
        model, tokenizer = read_gguf(source, fields)
    else:
        model, tokenizer = _load_folder(source, load_model, load_tokenizer)
    if chat_template:
        tokenizer.chat_template = chat_template.read_text(encoding="utf-8")
    check_template(tokenizer, str(chat_template or source))
    say(stage="safetensors")
    save_model(model, tokenizer, work)
    del model
    if is_wanted(openvino, work):
        say(stage="openvino")
        export_openvino(work)
    return not report_of(tokenizer).tools


def refuse_code(folder: Path) -> None:
    """Refuses a Hugging Face folder whose configuration names code of its own.

    Raises:
        KitError: naming the file.
    """
    for name in ("config.json", "tokenizer_config.json"):
        path = folder / name
        if path.exists() and "auto_map" in _read_json(path):
            raise KitError(
                "asks to run code of the model's (auto_map); the kit never does",
                where=str(path),
                fix="take a model of an architecture that transformers knows itself",
            )


def _convert_labeller(source: Path, work: Path, openvino: bool | None) -> None:
    """Writes the weights (f32), tokenizer and OpenVINO form of a model that labels tokens."""
    from llmops_kit.training.models.openvino_form import export_openvino
    from llmops_kit.training.models.weights import load_token_classifier, load_tokenizer, save_folder

    model, tokenizer = _load_folder(source, lambda folder, _: load_token_classifier(folder), load_tokenizer)
    labels = model.config.id2label.values()
    if "O" not in labels:
        raise KitError(
            f"has no label O for tokens outside of entities; its labels are {', '.join(map(str, list(labels)[:10]))}",
            where=f"{source / 'config.json'}: id2label",
            fix="take a model that was trained to find names or personal data",
        )
    if not tokenizer.is_fast:
        raise KitError(
            "has no tokenizer.json, which is needed to locate labels in the text",
            where=str(source),
            fix="save it with transformers' fast tokenizer",
        )
    say(stage="safetensors")
    save_folder(model, tokenizer, work)
    if openvino is not False:
        say(stage="openvino")
        export_openvino(work)


def _convert_embedding(source: Path, work: Path, openvino: bool | None) -> str:
    """Writes an embedding model like `_convert`; returns the precision of its weights."""
    from llmops_kit.training.models.openvino_form import export_openvino, is_wanted

    say(stage="safetensors")
    dtype = store_embedding_model(source, work)
    if is_wanted(openvino, work):
        say(stage="openvino")
        export_openvino(work)
    return dtype


def _convert_comet(source: Path, work: Path, openvino: bool | None) -> CometForm:
    """Writes the weights (f32) and tokenizer of a model that scores translations; returns its form."""
    if openvino:
        raise KitError("has no form for CPUs: PyTorch runs it there too", where=str(source), fix="leave out --openvino")
    say(stage="safetensors")
    return store_comet_model(source, work)


def _load_folder(folder: Path, load_model: Any, load_tokenizer: Any) -> tuple[Any, Any]:
    try:
        import torch

        # In bf16, as versions store it: in f32 a model of 8 B parameters would take 32 GB.
        return load_model(folder, torch.bfloat16), load_tokenizer(folder)
    except KitError:
        raise
    except Exception as e:  # each library has its own for files that it can't read
        first = str(e).strip().splitlines()[0]
        raise KitError(
            f"can't be loaded: {first}", where=str(folder), fix="take a text generation model that transformers knows"
        ) from e


def _copy_licences(source: Path, target: Path) -> None:
    for name, path in source_files(source).items() if source.is_dir() else ():
        if any(fnmatchcase(name, pattern) for pattern in LICENCE_FILES):
            shutil.copyfile(path, target / name)


def licence_of(folder: Path) -> str:
    """Returns the licence in the front matter of the model card."""
    card = folder / "README.md"
    match = re.search(r"^license:\s*(\S+)\s*$", card.read_text(), re.MULTILINE) if card.exists() else None
    return spdx(match[1]) if match else ""


def spdx(licence: str) -> str:
    """Returns the SPDX identifier of a licence as the hub's model cards name it."""
    return {"apache-2.0": "Apache-2.0", "mit": "MIT"}.get(licence, licence)


def source_files(source: Path) -> dict[str, Path]:
    """Returns the files of a source by their names in it. Follows links, because a hub's snapshot consists of them."""
    files = [source] if source.is_file() else sorted(p for p in source.iterdir() if p.is_file())
    found = {p.name: p for p in files if p.name[0] != "."}
    return found | ({CHECKPOINT.as_posix(): source / CHECKPOINT} if is_comet(source) else {})


def _entries(source: Path) -> dict[str, FileEntry]:
    files = source_files(source).items()
    return {name: FileEntry(sha256=sha256_file(path), size=path.stat().st_size) for name, path in files}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except ValueError as e:
        raise KitError(f"is not JSON: {e}", where=str(path), fix="fetch the model again") from e
