"""Chooses the engine for a version by the setting, this machine's hardware and the installed libraries."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

from llmops_kit.core.engines.records import ENGINES, EngineName, engines_by_preference
from llmops_kit.core.errors import ServingError
from llmops_kit.core.models.gpus import usable_gpus


@dataclass(frozen=True)
class EngineChoice:
    """An engine and the reason for it, in words."""

    engine: EngineName
    why: str


def choose_engine(
    asked: EngineName | Literal["auto"], forms: Sequence[str], environ: Mapping[str, str]
) -> EngineChoice:
    """Returns the engine that serves a version on this machine, and why.

    Args:
        asked: the setting.
        forms: the manifest's `engines`: the forms that the version has.
        environ: this process's environment, which may hide the machine's GPUs.

    Raises:
        ServingError: no installed engine reads a form of the version.
    """
    if asked != "auto":
        return EngineChoice(asked, f"the setting `engine` names {asked}")
    gpu = usable_gpus(environ)
    reasons: list[str] = []
    for engine in engines_by_preference(bool(gpu)):
        library = ENGINES[engine].packages[0]
        if ENGINES[engine].form not in forms:
            reasons.append(f"the version has no files for {engine}")
        elif not find_spec(library):
            reasons.append(f"{library} is not installed, which {engine} needs")
        else:
            found = f"a GPU is here ({gpu})" if gpu else "no GPU is here"
            return EngineChoice(engine, "; ".join([found, *reasons]))
    raise ServingError(
        f"no engine can run it here: {'; '.join(reasons) or 'its manifest names no engine'}",
        where="engine",
        fix="`llmops models convert NAME@N` creates a version with OpenVINO's files: promote that one; or serve it "
        "from another image (serving, serving-torch, or serving-vllm on a GPU)",
    )


def require_prefix_cache(engine: EngineName, embedding: bool) -> None:
    """Checks that an engine of the kit's own server has a prefix cache, which the setting asks for.

    Raises:
        ServingError: it has none for this kind of model.
    """
    if embedding or not ENGINES[engine].keeps_prefixes:
        what = "an embedding model" if embedding else f"the engine {engine}"
        raise ServingError(
            f"is true, and {what} keeps no prefixes of prompts",
            where="LLMOPS_PREFIX_CACHE",
            fix="unset it (in a stack: remove `prefix_cache`); the engines openvino and vllm keep those of chat models",
        )
