"""Reads the server's environment into one frozen ServerSettings; every error names the variable and the fix."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast, get_args

from pydantic import ValidationError

from llmops_kit.core.engines.engine_settings import EngineSettings, choices_of, engine_variable
from llmops_kit.core.engines.records import EngineName
from llmops_kit.core.errors import ServingError
from llmops_kit.core.layout import serving_model_folder
from llmops_kit.core.limits import (
    PLATFORM_SECONDS,
    PLATFORM_STREAM_SECONDS,
    RequestLimits,
    limit_bounds,
    limit_variable,
)
from llmops_kit.core.network.api_key import SHORTEST_KEY, is_usable_key
from llmops_kit.core.network.handover import SOCKET_VARIABLE
from llmops_kit.core.network.key_usage import USAGE_FILE
from llmops_kit.core.validation import did_you_mean, first_message

Auth = Literal["key", "platform"]
OnGolden = Literal["required", "reported"]

# Other variables of the kit that may be set in the same environment and have no effect here.
_ELSEWHERE = {"LLMOPS_CACHE"}
_VARIABLES = {
    "LLMOPS_ROOT",
    "LLMOPS_BIND",
    "LLMOPS_AUTH",
    "LLMOPS_PLATFORM",
    "LLMOPS_API_KEY_FILE",
    "LLMOPS_API_KEYS_FILE",
    "LLMOPS_METRICS_KEY_FILE",
    USAGE_FILE,
    "LLMOPS_PUBLIC_KEY",
    "LLMOPS_PUBLIC_KEY_FILE",
    "LLMOPS_MODEL_SHA256",
    "LLMOPS_MODEL_NAME",
    "LLMOPS_THREADS",
    "LLMOPS_ENGINE",
    "LLMOPS_LAME_DUCK_SECONDS",
    "LLMOPS_DRAIN_SECONDS",
    "LLMOPS_GOLDEN",
    "LLMOPS_QUALITY_SECONDS",
    "LLMOPS_PHASE_FD",
    *map(limit_variable, RequestLimits.model_fields),
    *map(engine_variable, EngineSettings.model_fields),
    SOCKET_VARIABLE,
}


@dataclass(frozen=True)
class ServerSettings:
    """Checked settings of a server."""

    model: Path
    """The model version's folder."""
    public_key: str
    """PEM, provided by the stack, never by the model's folder."""
    identity: str = ""
    """SHA-256 of the promoted manifest; empty: any version that the key signed."""
    name: str = ""
    """The name in /v1/models; empty: the name in the manifest."""
    auth: Auth = "key"
    platform: str = ""
    """sagemaker or azureml, if the platform authenticates callers."""
    api_key: str = ""
    api_keys_file: Path | None = None
    """A file of several keys, with rates and budgets: see serving/front/keys.py."""
    usage_file: Path | None = None
    """Where the servers of an endpoint count together what each key uses; None: this server counts for itself."""
    metrics_key: str = ""
    """The only key for /metrics; empty: any API key is accepted."""
    host: str = "0.0.0.0"
    port: int = 8080
    threads: int = 0
    """Threads of the engine; 0: all processors."""
    engine: EngineName | Literal["auto"] = "auto"
    engine_settings: EngineSettings = field(default_factory=EngineSettings)
    limits: RequestLimits = field(default_factory=RequestLimits)
    lame_duck_seconds: float = 2.0
    """Time after SIGTERM in which the server is unready, but still accepts requests, until routers have noticed."""
    drain_seconds: float = 25.0
    """Time after the lame duck time until running answers are cut off. SageMaker kills 30 seconds after SIGTERM."""
    golden: OnGolden = "required"
    """With "reported", the server takes traffic even if a golden prompt was answered wrongly; a quality alarm must
    react.
    """
    quality_seconds: float = 300.0
    """Interval at which golden prompts are asked while serving, shorter at first; 0: only before it is ready."""
    phase_fd: int | None = None
    """File descriptor on which vLLM's parent reports the phase, one per line; set by the server's own `-m
    llmops_kit.serving serve`.
    """
    handover_socket: Path | None = None
    """Unix socket through which the router of this machine hands over connections; set by the local runtime."""

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> "ServerSettings":
        """Reads the process's environment and the key files that it names.

        Raises:
            ServingError: naming the variable.
        """
        _refuse_unknown(environ)
        auth = cast(Auth, _choice(environ, "LLMOPS_AUTH", ("key", "platform")))
        return cls(
            model=serving_model_folder(environ),
            public_key=_public_key(environ),
            identity=_identity(environ),
            name=environ.get("LLMOPS_MODEL_NAME", ""),
            auth=auth,
            platform=_platform(environ, auth),
            api_key=_api_key(environ) if auth == "key" else "",
            api_keys_file=_keys_file(environ) if auth == "key" else None,
            usage_file=_usage_file(environ) if auth == "key" else None,
            metrics_key=_metrics_key(environ),
            host=environ.get("LLMOPS_BIND") or cls.host,
            port=_integer(environ, "SAGEMAKER_BIND_TO_PORT", cls.port, 0, 65535),
            threads=_integer(environ, "LLMOPS_THREADS", cls.threads, 0, 1024),
            engine=cast(EngineName, _choice(environ, "LLMOPS_ENGINE", ("auto", *get_args(EngineName)))),
            engine_settings=_engine_settings(environ),
            limits=_limits(environ),
            lame_duck_seconds=_seconds(environ, "LLMOPS_LAME_DUCK_SECONDS", cls.lame_duck_seconds, 0, 20),
            drain_seconds=_seconds(environ, "LLMOPS_DRAIN_SECONDS", cls.drain_seconds, 0, 28),
            golden=cast(OnGolden, _choice(environ, "LLMOPS_GOLDEN", ("required", "reported"))),
            quality_seconds=_seconds(environ, "LLMOPS_QUALITY_SECONDS", cls.quality_seconds, 0, 86_400),
            phase_fd=_integer(environ, "LLMOPS_PHASE_FD", 0, 0, 1 << 20) or None,
            handover_socket=Path(environ[SOCKET_VARIABLE]) if environ.get(SOCKET_VARIABLE) else None,
        )

    def likely_forms(self) -> tuple[str, ...]:
        """Returns the forms that the manifest probably lists, without reading it: a guess that only saves the time of
        an import.
        """
        return ("openvino", "transformers") if (self.model / "openvino").is_dir() else ("transformers",)


def _refuse_unknown(environ: Mapping[str, str]) -> None:
    for name in sorted(environ):
        if name.startswith("LLMOPS_") and name not in _VARIABLES | _ELSEWHERE:
            meant = did_you_mean(name, _VARIABLES)
            raise ServingError(
                "is not a variable of the server",
                where=name,
                fix=meant or f"unset it; there are {', '.join(sorted(_VARIABLES))}",
            )


def _choice(environ: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    value = environ.get(name) or choices[0]
    if value not in choices:
        raise ServingError(f"is {value!r}", where=name, fix=f"set it to one of {', '.join(choices)}")
    return value


def _integer(environ: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    text = environ.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
        raise ServingError(f"is {text!r}", where=name, fix=f"set it to a whole number from {low} to {high}")
    return int(text)


def _seconds(environ: Mapping[str, str], name: str, default: float, low: float, high: float) -> float:
    text = environ.get(name) or str(default)
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise ServingError(f"is {text!r}", where=name, fix=f"set it to seconds from {low:g} to {high:g}")
    return value


def _limits(environ: Mapping[str, str]) -> RequestLimits:
    """Returns the limits; by default a stream has at least the time of an answer."""
    platform = environ.get("LLMOPS_PLATFORM", "")
    values: dict[str, float] = {}
    for name, limit in RequestLimits.model_fields.items():
        default = limit.default
        if name == "request_seconds":
            default = PLATFORM_SECONDS.get(platform, default)
        elif name == "stream_seconds":
            default = max(values["request_seconds"], PLATFORM_STREAM_SECONDS.get(platform, 0.0))
        low, high = limit_bounds(name)
        if limit.annotation is int:
            values[name] = _integer(environ, limit_variable(name), int(default), int(low), int(high))
        else:
            values[name] = _seconds(environ, limit_variable(name), default, low, high)
    return RequestLimits.model_validate(values)


def _engine_settings(environ: Mapping[str, str]) -> EngineSettings:
    values = {name: text for name in EngineSettings.model_fields if (text := environ.get(engine_variable(name)))}
    for name in values:
        if choices := choices_of(name):
            _choice(environ, engine_variable(name), choices)
    try:
        return EngineSettings.model_validate(values)
    except ValidationError as e:
        name = str(e.errors()[0]["loc"][0])
        raise ServingError(f"is {values[name]!r}", where=engine_variable(name), fix=first_message(e)) from None


def _identity(environ: Mapping[str, str]) -> str:
    text = environ.get("LLMOPS_MODEL_SHA256", "")
    if text and (len(text) != 64 or set(text) - set("0123456789abcdef")):
        raise ServingError(f"is {text!r}", where="LLMOPS_MODEL_SHA256", fix="set it to the version's 64 hex digits")
    return text


def _read_file(environ: Mapping[str, str], name: str, fix: str) -> str:
    path = environ.get(name)
    if not path:
        raise ServingError("is not set", where=name, fix=fix)
    try:
        return Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError) as e:
        reason = e.strerror if isinstance(e, OSError) else "it is not text"
        raise ServingError(f"names {path}, which can't be read: {reason}", where=name, fix=fix) from None


def _public_key(environ: Mapping[str, str]) -> str:
    """Returns the PEM from its variable, if a platform mounts no files (SageMaker), or from its file."""
    if text := environ.get("LLMOPS_PUBLIC_KEY", "").strip():
        return text
    name = "LLMOPS_PUBLIC_KEY_FILE"
    fix = "name the file with the stack's public key (PEM); without it nothing is loaded"
    text = _read_file(environ, name, fix)
    inside = Path(environ[name]).resolve().is_relative_to(serving_model_folder(environ).resolve())
    if inside:
        raise ServingError("is in the model's own folder, which proves nothing", where=name, fix=fix)
    return text


def _api_key(environ: Mapping[str, str]) -> str:
    """Returns the single API key; empty if there is only a file of keys."""
    if not environ.get("LLMOPS_API_KEY_FILE") and environ.get("LLMOPS_API_KEYS_FILE"):
        return ""
    return _key(environ, "LLMOPS_API_KEY_FILE", "callers")


def _key(environ: Mapping[str, str], name: str, who: str) -> str:
    fix = f"name a file with one line, the key that {who} send ({SHORTEST_KEY} characters or more)"
    key = _read_file(environ, name, fix)
    if not is_usable_key(key):
        raise ServingError("holds no usable key", where=f"{name}={environ[name]}", fix=fix)
    return key


def _metrics_key(environ: Mapping[str, str]) -> str:
    name = "LLMOPS_METRICS_KEY_FILE"
    return _key(environ, name, "those who read /metrics") if environ.get(name) else ""


def _usage_file(environ: Mapping[str, str]) -> Path | None:
    path = Path(environ.get(USAGE_FILE, ""))
    if not path.name:
        return None
    if not os.access(path.parent, os.W_OK):
        raise ServingError(
            f"{path.parent} is not a folder that the server can write",
            where=USAGE_FILE,
            fix="mount a folder of a local disk there, which the endpoint's servers share, or unset it",
        )
    return path


def _keys_file(environ: Mapping[str, str]) -> Path | None:
    path = environ.get("LLMOPS_API_KEYS_FILE")
    return Path(path) if path else None


def _platform(environ: Mapping[str, str], auth: Auth) -> str:
    platform = environ.get("LLMOPS_PLATFORM", "")
    if platform and platform not in ("sagemaker", "azureml"):
        raise ServingError(
            f"is {platform!r}", where="LLMOPS_PLATFORM", fix="it is sagemaker or azureml, set by the stack's target"
        )
    if auth == "platform" and not platform:
        raise ServingError(
            "is platform, but no platform that authenticates callers started this server",
            where="LLMOPS_AUTH",
            fix="use LLMOPS_AUTH=key with LLMOPS_API_KEY_FILE; the targets aws and azure set LLMOPS_PLATFORM",
        )
    return platform
