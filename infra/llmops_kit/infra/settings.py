"""The only reader of Pulumi config: typed, frozen; every error names the key, the stack file's line and the fix.

Keys, types, defaults and descriptions are declared once more in Pulumi.yaml, for `pulumi config` and its users; a test
keeps the two equal.
"""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pulumi
from pulumi.runtime.config import CONFIG, get_config_env
from pydantic import AfterValidator, Field, StringConstraints, ValidationError, model_validator

from llmops_kit.clouds.aws.settings import AwsSettings
from llmops_kit.clouds.azure.settings import AzureSettings
from llmops_kit.contract.documents.document import Part
from llmops_kit.contract.documents.validation import bounds_of, did_you_mean, known_keys, message_of
from llmops_kit.contract.errors import KitError, SettingError
from llmops_kit.contract.expiry import Expiry
from llmops_kit.contract.limits import AdmissionLimits
from llmops_kit.contract.names import ModelRef, Name, parse_promoted
from llmops_kit.contract.rollout import WatchedRollout
from llmops_kit.policies.rules import RULES

KeyPath = tuple[int | str, ...]
InstanceType = Annotated[str, StringConstraints(pattern=r"^([A-Za-z][A-Za-z0-9_.-]*)?$")]
"""Each cloud's own words; the target looks at their form."""
_DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")


def _promoted(text: str) -> str:
    try:
        parse_promoted(text)
    except KitError as e:
        raise ValueError(f"{e.what}; {e.fix}") from None
    return text


def _rule(text: str) -> str:
    if text not in RULES:
        raise ValueError(f"there is no rule {text!r}; rules: {', '.join(RULES)}")
    return text


class Size(Part):
    """How much serves an endpoint."""

    instances: int = Field(
        default=1, ge=0, le=64, description="Number of workers, or of instances in a cloud; 0: only with async."
    )
    max_instances: int = Field(
        default=0, ge=0, le=64, description="Above `instances`: autoscaling between the two (cloud)."
    )
    concurrent_requests: int = Field(
        default=4, ge=1, le=1000, description="Autoscaling's target of concurrent requests per instance (cloud)."
    )
    instance_type: InstanceType = Field(
        default="", description="Such as ml.c5.2xlarge or Standard_DS3_v2; empty: the target's default (cloud)."
    )

    @model_validator(mode="after")
    def _in_order(self) -> "Size":
        if self.max_instances and self.max_instances <= self.instances:
            raise ValueError("max_instances must be more than instances, or left out")
        if "concurrent_requests" in self.model_fields_set and not self.max_instances:
            raise ValueError("concurrent_requests has no effect without max_instances; add it")
        return self


class Rollout(WatchedRollout):
    """Rollout of a new model version."""

    strategy: Literal["all_at_once", "canary", "linear", "rolling"] = Field(  # pyright: ignore[reportIncompatibleVariableOverride] (frozen)
        default="all_at_once", description="linear and rolling require a cloud."
    )
    step_percent: int = Field(
        default=25, ge=5, le=50, description="Percentage that each step of linear or rolling adds."
    )
    mirror_percent: int = Field(
        default=0,
        ge=0,
        le=50,
        description="Percentage of requests that are mirrored to the new version first, for one bake (Azure).",
    )

    @model_validator(mode="after")
    def _belongs(self) -> "Rollout":
        belongs = {
            "canary_percent": ("canary",),
            "step_percent": ("linear", "rolling"),
            "extra_bakes": ("canary", "linear"),
            "on_inconclusive": ("canary", "linear"),
        }
        for field in sorted(self.model_fields_set & set(belongs)):
            compares = self.mirror_percent and field in ("extra_bakes", "on_inconclusive")
            if self.strategy not in belongs[field] and not compares:
                which = " or ".join(f"`strategy: {s}`" for s in belongs[field])
                raise ValueError(f"{field} has no effect without {which}; add it")
        return self


class ServerLimits(AdmissionLimits):
    """ServerLimits of an endpoint's servers. What is not set is for the server to say."""

    api_keys_file: str = Field(
        default="",
        description="File of several API keys with rates and budgets, relative to Pulumi.yaml; read anew when it "
        "changes (local).",
    )
    metrics_key_file: str = Field(
        default="", description="File of the key that /metrics takes alone, relative to Pulumi.yaml (local)."
    )


class Endpoint(Part):
    """Settings of one endpoint: the promoted version, its machines, rollout and limits."""

    model: Annotated[str, AfterValidator(_promoted)] = Field(
        description="Promoted version, name@number@sha256:<64 hex digits>; `llmops promote` writes it."
    )
    endpoint: bool = Field(default=True, description="on; off stops the servers and keeps everything else.")
    size: Size = Size()
    rollout: Rollout = Rollout()
    limits: ServerLimits = ServerLimits()
    mode: Literal["realtime", "async", "serverless"] = Field(
        default="realtime",
        description="async: requests and responses are files, can scale to zero (cloud); serverless: unsupported.",
    )
    engine: Literal["auto", "vllm", "openvino", "transformers"] = Field(
        default="auto",
        description="auto: vllm on machines with NVIDIA GPUs, else openvino; transformers: local only.",
    )
    precision: Literal["auto", "f32", "bf16"] = Field(
        default="auto", description="auto: bf16 if the processor supports it."
    )
    prefix_cache: bool = Field(
        default=False,
        description="true: keep the computed prefixes of prompts, for callers who trust each other: by the time to the "
        "first token one can find out how another's prompt began. Not with transformers.",
    )
    port: int = Field(default=0, ge=0, le=65_535, description="0: a free port, chosen once and kept (local).")
    gate: Literal["required", "waived"] = Field(
        default="required", description="waived: serve a version even if it did not pass its evaluation gate."
    )
    volume_gb: int = Field(
        default=0, ge=0, le=512, description="Disk of an instance in GB; 0: the cloud's default (cloud)."
    )
    start_seconds: int = Field(default=600, ge=60, le=3600, description="Seconds until a server must be ready (cloud).")
    download_seconds: int = Field(
        default=600, ge=60, le=3600, description="Timeout of the model's download, in seconds (cloud)."
    )
    inference_ami_version: str = Field(
        default="",
        description="AMI of SageMaker's hosts, for images that need its CUDA; empty: the default of SageMaker (AWS).",
    )

    @model_validator(mode="after")
    def _has_prefixes(self) -> "Endpoint":
        if self.prefix_cache and self.engine == "transformers":
            raise ValueError("prefix_cache has no effect with `engine: transformers`; remove it")
        return self

    @property
    def version(self) -> ModelRef:
        """The promoted version in its parts."""
        return parse_promoted(self.model)


class Images(Part):
    """Images of runs and endpoints in a cloud, written by `llmops images push`, or by `build` on a twin."""

    training: str = Field(default="", description="Image of training jobs, by digest.")
    training_tensorflow: str = Field(
        default="", description="Image that trains recipes with `framework: tensorflow`, by digest."
    )
    serving: str = Field(default="", description="Image of endpoints, by digest.")
    serving_vllm: str = Field(default="", description="Image of endpoints on NVIDIA GPUs, by digest.")

    @model_validator(mode="after")
    def _by_digest(self) -> "Images":
        for name, reference in ((n, getattr(self, n)) for n in Images.model_fields):
            if reference and not _DIGEST.search(reference):
                raise ValueError(f"{name}: {reference!r} is not by digest (…@sha256:<64 hex digits>)")
        return self


class Settings(Part):
    """All settings of a stack. Field names are the keys in the stack file, after the project's name and a colon."""

    target: str = Field(default="local", description="Target that the stack deploys to (local, aws or azure).")
    endpoints: dict[Name, Endpoint] = Field(
        default={},
        description="Endpoints by name, each with a model and the settings in docs/reference.md.",
    )
    local_home: str = Field(
        default=".llmops",
        min_length=1,
        description="Folder for all data of local stacks, relative to this file.",
    )
    local_runtime: Literal["process", "docker"] = Field(
        default="process", description="Runtime of local endpoints (process or docker); runs are always processes."
    )
    expires: Expiry = Field(
        default="",
        description="Expiry of the stack (2026-12-31, 2026-12-31T18:00Z), seen by status and `down --orphans` (cloud).",
    )
    images: Images = Field(default=Images(), description="Images of runs and endpoints in a cloud, by digest.")
    accepted_rules: dict[Annotated[str, AfterValidator(_rule)], Annotated[str, StringConstraints(min_length=1)]] = (
        Field(
            default={},
            description="Rules that the stack may violate, each with a reason; `llmops plan` lists them (cloud).",
        )
    )
    aws: AwsSettings = Field(default=AwsSettings(), description="Settings of target aws.")
    azure: AzureSettings = Field(default=AzureSettings(), description="Settings of target azure.")


def read_settings() -> Settings:
    """The current stack's settings.

    Raises:
        SettingError: an unknown key, a wrong type or value; names each key and its line.
    """
    prefix = pulumi.get_project() + ":"
    raw = {**get_config_env(), **CONFIG.get()}
    values = {key.removeprefix(prefix): value for key, value in raw.items() if key.startswith(prefix)}
    return parse_settings(values)


def parse_settings(values: Mapping[str, str]) -> Settings:
    """Settings from Pulumi's strings; objects come as JSON.

    Raises:
        SettingError: as `read_settings`.
    """
    objects = {name for name, field in Settings.model_fields.items() if not isinstance(field.default, str)}
    data = {key: _decode(text) if key in objects else text for key, text in values.items()}
    try:
        return Settings.model_validate(data)
    except ValidationError as e:
        raise _explain(e) from None


def setting_error(path: KeyPath, what: str, fix: str) -> SettingError:
    """An error about the setting at `path`, such as ("endpoints", "chatbot", "model")."""
    return SettingError(what, where=_place(path), fix=fix)


def refuse_set(path: KeyPath, part: Part, fields: Iterable[str], what: str, fix: str) -> None:
    """Refuse fields that a target can't honour, where they are not as they are by default.

    Args:
        path: of the part, such as ("endpoints", "chatbot", "size").
        part: settings, or a part of them.
        fields: names in it; a field that is a part itself is looked into.
        what: why, after the key.
        fix: the fix.

    Raises:
        SettingError: naming the first.
    """
    for name in fields:
        value, default = getattr(part, name), type(part).model_fields[name].default
        if isinstance(value, Part):
            refuse_set((*path, name), value, type(value).model_fields, what, fix)
        elif value != default:
            raise setting_error((*path, name), what, fix)


def project_folder() -> Path:
    """The folder of Pulumi.yaml: the engine starts a program there, or below it where Pulumi.yaml has a `main`."""
    here = Path.cwd()
    return next((f for f in (here, *here.parents) if (f / "Pulumi.yaml").is_file()), here)


def _decode(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text  # not an object: validation says so


def _explain(error: ValidationError) -> SettingError:
    first, *others = (_finding(item) for item in error.errors())
    more = "".join(f"\n  {e.where}: {e.what}\n    fix: {e.fix}" for e in others)
    return SettingError(first.what, where=first.where, fix=first.fix + more)


def _finding(item: Mapping[str, Any]) -> SettingError:
    path: KeyPath = item["loc"]
    if path[-1] == "[key]":
        return setting_error(path[:-1], message_of(item), "a name has 3-32 small letters, digits and single dashes")
    if item["type"] == "extra_forbidden":
        known = known_keys(Settings, path)
        meant = did_you_mean(str(path[-1]), known)
        return setting_error(path, "unknown key", f"{meant} remove it, or write one of: {', '.join(known)}".strip())
    if item["type"] == "missing":
        promoted = len(path) == 3 and path[-1] == "model"
        return setting_error(path, "is missing", "`llmops promote name@number` writes it" if promoted else "write it")
    return setting_error(path, message_of(item), _in_bounds(path) or "change it in the stack file")


def _in_bounds(path: KeyPath) -> str:
    """Returns the fix for a number outside of its setting's bounds; empty if there are none."""
    low, high = bounds_of(Settings, path)
    return f"write a number from {low:g} to {high:g}" if low is not None and high is not None else ""


def _place(path: KeyPath) -> str:
    """`Pulumi.demo.yaml:7: llmops:endpoints.chatbot.size.instances`, or without the line where it can't be told."""
    project, stack = pulumi.get_project(), pulumi.get_stack()
    key = f"{project}:{'.'.join(str(p) for p in path)}"
    file = project_folder() / f"Pulumi.{stack}.yaml"
    if not file.is_file():
        return key
    from ruamel.yaml import YAML  # only a user's mistake comes here

    from llmops_kit.contract.documents.document import line_of

    tree = YAML(typ="rt", pure=True).load(file.read_text())
    line = line_of(tree, ("config", f"{project}:{path[0]}", *path[1:]))
    return f"{file.name}:{line}: {key}"
