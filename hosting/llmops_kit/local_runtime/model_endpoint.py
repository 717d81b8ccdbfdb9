"""Specifies the endpoint of a model version: the serving image with the version's folder, its keys and its settings."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmops_kit.core.engines.engine_settings import EngineSettings, engine_variables
from llmops_kit.core.limits import API_KEYS_FILE
from llmops_kit.core.models.server_memory import MIB, server_memory
from llmops_kit.core.network.api_key import key_digest
from llmops_kit.core.network.key_usage import USAGE_FILE
from llmops_kit.local_runtime.spec import EndpointSpec

# Paths in the container.
_MODEL = "/opt/ml/model"
_API_KEY = "/run/llmops/api.key"
_PUBLIC_KEY = "/run/llmops/signing.pub"
_KEYS = "/run/llmops/keys"
_USAGE = "/run/llmops/usage"
_USAGE_NAME = "usage.sqlite"


@dataclass(frozen=True)
class ServedVersion:
    """A signed version on this machine."""

    folder: Path
    public_key_file: Path
    """Key of the signer; never in the version's own folder."""
    model: str
    """The name in /v1/models."""
    sha256: str
    """The only identity that is served."""


def endpoint_spec(
    version: ServedVersion,
    *,
    name: str,
    image: str,
    key_file: Path,
    engine: str,
    settings: EngineSettings | None = None,
    limits: Mapping[str, str] | None = None,
    key_files: Mapping[str, Path] | None = None,
    memory_mb: int = 0,
    usage_folder: Path | None = None,
    **fields: Any,
) -> EndpointSpec:
    """Returns the specification of the endpoint that serves a version.

    Args:
        version: the version to serve.
        name: the endpoint's.
        image: reference of a serving image.
        key_file: holds the API key that callers send.
        engine: auto, or one that the image has.
        settings: of the engine; None: the defaults.
        limits: variables of the server, as llmops_kit.core.limits names them.
        key_files: variable of the server -> file of keys.
        memory_mb: limit of the memory of an instance that runs as processes, in MiB; 0: by model and machine.
        usage_folder: where its servers count together what each key uses; None: each counts for itself.
        fields: further fields of EndpointSpec.
    """
    mounted = key_files or {}
    folders = {_MODEL: version.folder, _API_KEY: key_file, _PUBLIC_KEY: version.public_key_file}
    # Mount their folders: of a single file, Docker would keep the old one after it is replaced.
    folders |= {f"{_KEYS}/{number}": path.parent for number, path in enumerate(mounted.values())}
    shared = {_USAGE: str(usage_folder)} if usage_folder else {}
    environ = {
        "LLMOPS_AUTH": "key",
        "LLMOPS_API_KEY_FILE": _API_KEY,
        "LLMOPS_PUBLIC_KEY_FILE": _PUBLIC_KEY,
        "LLMOPS_MODEL_NAME": version.model,
        "LLMOPS_MODEL_SHA256": version.sha256,
        "LLMOPS_ENGINE": engine,
        **engine_variables(settings or EngineSettings()),
        **(limits or {}),
        **{variable: f"{_KEYS}/{number}/{path.name}" for number, (variable, path) in enumerate(mounted.items())},
        **({USAGE_FILE: f"{_USAGE}/{_USAGE_NAME}"} if shared else {}),
    }
    return EndpointSpec.model_validate(
        {
            "name": name,
            "image": image,
            "folders": {path: str(folder) for path, folder in folders.items()},
            "shared": shared,
            "environ": environ,
            "key_sha256": key_digest(key_file.read_text().strip()),
            "keys_file": str(mounted.get(API_KEYS_FILE, "")),
            "memory_bytes": _memory_limit(version, image, limits or {}, memory_mb),
            **fields,
        }
    )


def _memory_limit(version: ServedVersion, image: str, limits: Mapping[str, str], memory_mb: int) -> int:
    """Returns the bytes of memory of an instance; 0 in Docker, which has its own limit."""
    if not image.startswith("process:"):
        return 0
    return memory_mb * MIB if memory_mb else server_memory(version.folder, limits, image).default


def usage_file(spec: EndpointSpec) -> Path | None:
    """Returns the file in which an endpoint's servers count what each key uses; None if each counts for itself."""
    folder = spec.shared.get(_USAGE)
    return Path(folder) / _USAGE_NAME if folder else None
