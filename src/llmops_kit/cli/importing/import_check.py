"""Predicts the result of importing a base model, before its weights are downloaded."""

import json
import shutil
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from llmops_kit.cli.images.image_program import run_in_image
from llmops_kit.cli.importing.importing import find_source, hub_environ, work_folder
from llmops_kit.cli.interfaces.platform import Say
from llmops_kit.cli.machines.machines import A10G, A100_40, A100_80, T4
from llmops_kit.core.documents.estimate import MachineMemory
from llmops_kit.core.documents.model_check import CheckRequest, ModelCheck
from llmops_kit.core.documents.recipe import BaseModelSource
from llmops_kit.core.errors import KitError
from llmops_kit.core.models.base_models import ARCHITECTURES, FAMILIES
from llmops_kit.core.object_keys import fault
from llmops_kit.training.models.hub import LISTING
from llmops_kit.training.models.importing import PICKLES, licence_of, spdx
from llmops_kit.training.models.openvino_form import MOST_PARAMETERS

_SMALL_FILES = (
    "config.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "generation_config.json",
    "modules.json",
    "README.md",
)
_LARGEST_FILE = 4_000_000
"""Maximum size of a file that is fetched for a check, in bytes."""
MACHINES = tuple(
    MachineMemory(
        name=f"{count} x {gpu.name} {gpu.gigabytes} GB".removeprefix("1 x "),
        gpus=count,
        memory=gpu.memory,
        bf16=gpu.bf16_tflops is not None,
    )
    for gpu, count in ((T4, 1), (A10G, 1), (A100_40, 1), (A100_80, 1), (A100_80, 8))
)
"""Machines for which memory is estimated, smallest first."""


@dataclass(frozen=True)
class ImportCheck:
    """The result of `llmops models import --check`."""

    source: str
    importable: bool
    refusal: str
    """Why it can't be imported, with the fix; empty: it can."""
    family: str
    tested: bool
    """Whether the table of docs/base-models.md has its architecture."""
    licence: str
    gated: bool
    download: int
    """Size of its weights in bytes."""
    pickles: list[str]
    """Weights that are left out, as loading them could run code."""
    engines: dict[str, str]
    """Engine -> its support for the model, in words."""
    model: ModelCheck

    def fields(self) -> dict[str, Any]:
        """Returns the fields of `--json`, with the estimates of each adapter."""
        return asdict(self) | {"model": self.model.model_dump()}


@dataclass(frozen=True)
class _Listing:
    """A model's files, and its facts on the hub."""

    sizes: dict[str, int]
    gated: bool = False
    licence: str = ""


def check_import(wanted: BaseModelSource, say: Say, relative_to: Path) -> ImportCheck:
    """Judges a model by its small files: nothing else is fetched, and nothing is stored.

    Args:
        wanted: name, source and revision.
        say: called before slow steps.
        relative_to: a `folder:` is relative to it.

    Raises:
        KitError: its small files can't be fetched.
    """
    kind, _, place = wanted.source.partition(":")
    wanted.require_commit("revision")
    with work_folder() as work:
        outline = work / "model"
        outline.mkdir()
        if kind == "hub":
            listing = _of_hub(place, wanted.revision, outline, work, say)
        elif kind == "folder":
            listing = _of_folder(find_source(relative_to / Path(place).expanduser()), outline)
        else:
            raise _refusal(kind, wanted.source)
        _stand_in_for_the_rest(listing, outline)
        model = _ask(outline, work, say)
        licence = wanted.licence or spdx(listing.licence) or licence_of(outline)
    return _judged(wanted.source, model, listing, licence)


def _refusal(kind: str, source: str) -> KitError:
    if kind == "store":
        return KitError("a stored model was judged when it was imported", where=source, fix="leave out --check")
    return KitError(
        "--check reads a model's small files before its weights are fetched, and a package comes as one file",
        where=source,
        fix="leave out --check: the import judges a package after its download, and stores nothing that it refuses",
    )


def _of_hub(repository: str, revision: str, outline: Path, work: Path, say: Say) -> _Listing:
    say(f"fetching the small files of hub:{repository} {revision}")
    argument = json.dumps([repository, revision, str(outline), _SMALL_FILES, _LARGEST_FILE])
    command = ("training", "-m", "llmops_kit.training.models.hub", "outline", argument)
    run_in_image(*command, label="check", work=work, say=say, extra=hub_environ(), what="fetching them ended")
    shutil.rmtree(outline / ".cache", ignore_errors=True)
    path = outline / LISTING
    listing = _Listing(**json.loads(path.read_text()))
    path.unlink()
    return listing


def _of_folder(folder: Path, outline: Path) -> _Listing:
    sizes = {path.name: path.stat().st_size for path in folder.iterdir() if path.is_file()} if folder.is_dir() else {}
    for name in _SMALL_FILES:
        if sizes.get(name, _LARGEST_FILE + 1) <= _LARGEST_FILE:
            shutil.copyfile(folder / name, outline / name)
    return _Listing(sizes)


def _stand_in_for_the_rest(listing: _Listing, outline: Path) -> None:
    """Makes empty files for those that were not fetched: their names show whether an import would refuse them."""
    for name in listing.sizes:
        if "/" not in name and not fault(name) and not (outline / name).exists():
            (outline / name).touch()


def _ask(outline: Path, work: Path, say: Say) -> ModelCheck:
    """Runs the check in the training image's environment, because it needs torch, which this one lacks."""
    asked, answered = work / "request.json", work / "check.json"
    asked.write_text(CheckRequest(machines=list(MACHINES)).model_dump_json())
    say("trying its chat template, and tracing steps of its configuration; no weight is read")
    command = ("training", "-m", "llmops_kit.training", "check", outline, asked, answered)
    run_in_image(*command, label="check", work=work, say=say, what="the check ended")
    return ModelCheck.model_validate_json(answered.read_text())


def _judged(source: str, model: ModelCheck, listing: _Listing, licence: str) -> ImportCheck:
    known = ARCHITECTURES.get(model.model_type)
    names = [family.name for family in FAMILIES if family.model_type == model.model_type]
    no_licence = "" if licence else "states no licence; fix: give it with --licence"
    refusal = f"{model.where}: {model.refusal}; fix: {model.fix}" if model.refusal else no_licence
    engines = {} if model.refusal else _engines(model)
    return ImportCheck(
        source=source,
        importable=not refusal,
        refusal=refusal,
        family=", ".join(names),
        tested=known is not None,
        licence=licence,
        gated=listing.gated,
        download=sum(size for name, size in listing.sizes.items() if name.endswith(".safetensors")),
        pickles=sorted(name for name in listing.sizes if any(fnmatchcase(name, pattern) for pattern in PICKLES)),
        engines=engines,
        model=model,
    )


def _engines(model: ModelCheck) -> dict[str, str]:
    known = ARCHITECTURES.get(model.model_type)
    if known is None:
        untried = "not in the table: never tried"
        form = "not in the table: the import tries it; --no-openvino leaves it out"
        return {"openvino": form, "transformers": untried, "vllm": untried}
    form = f"no: {known.openvino}" if known.openvino else "works"
    if not known.openvino and model.parameters >= MOST_PARAMETERS:
        form = "works; left out from 2 billion parameters on, unless --openvino asks for it"
    vllm = "its own model" if known.vllm == "own" else "transformers' model"
    return {"openvino": form, "transformers": "works", "vllm": f"vLLM 0.32 runs it by {vllm}"}
