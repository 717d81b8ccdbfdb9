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

from clouds.aws.settings import AwsSettings
from clouds.azure.settings import AzureSettings
from contract.documents.document import Part
from contract.documents.validation import did_you_mean, known_keys, message_of
from contract.errors import KitError, SettingError
from contract.expiry import Expiry
from contract.names import ModelRef, Name, parse_promoted
from policies.rules import RULES

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

    instances: int = Field(default=1, ge=0, le=64, description="Workers, or instances in a cloud; 0: only with async.")
    max_instances: int = Field(
        default=0, ge=0, le=64, description="More than instances: scaled between the two by the load (cloud)."
    )
    concurrent_requests: int = Field(
        default=4, ge=1, le=1000, description="Requests at once that an instance should have, when scaled (cloud)."
    )
    instance_type: InstanceType = Field(
        default="", description="Such as ml.c5.2xlarge, Standard_DS3_v2; empty: the target's (cloud)."
    )

    @model_validator(mode="after")
    def _in_order(self) -> "Size":
        if self.max_instances and self.max_instances <= self.instances:
            raise ValueError("max_instances must be more than instances, or left out")
        if "concurrent_requests" in self.model_fields_set and not self.max_instances:
            raise ValueError("concurrent_requests has no effect without max_instances; add it")
        return self


class Rollout(Part):
    """How an endpoint goes from one model version to another."""

    strategy: Literal["all_at_once", "canary", "linear", "rolling"] = Field(
        default="all_at_once", description="linear and rolling: in a cloud."
    )
    canary_percent: int = Field(default=10, ge=1, le=99, description="Share of the requests that the canary takes.")
    step_percent: int = Field(default=25, ge=5, le=50, description="Share that each step of linear or rolling brings.")
    mirror_percent: int = Field(
        default=0,
        ge=0,
        le=50,
        description="Share of the requests that the new version gets first as copies, for a bake (Azure).",
    )
    bake_seconds: int = Field(
        default=30, ge=0, le=86_400, description="How long the new version must do well; 300 in a cloud by default."
    )

    @model_validator(mode="after")
    def _belongs(self) -> "Rollout":
        belongs = {"canary_percent": ("canary",), "step_percent": ("linear", "rolling")}
        for field in sorted(self.model_fields_set & set(belongs)):
            if self.strategy not in belongs[field]:
                which = " or ".join(f"`strategy: {s}`" for s in belongs[field])
                raise ValueError(f"{field} has no effect without {which}; add it")
        return self


class Endpoint(Part):
    """An entry of `endpoints`."""

    model: Annotated[str, AfterValidator(_promoted)] = Field(
        description="Promoted version, name@number@sha256:<64 hex digits>; `llmops promote` writes it."
    )
    endpoint: bool = Field(default=True, description="on, or off: stopped, everything else is kept.")
    size: Size = Size()
    rollout: Rollout = Rollout()
    mode: Literal["realtime", "async", "serverless"] = Field(
        default="realtime",
        description="async: requests and answers are files; may scale to zero (cloud). serverless is refused so far.",
    )
    precision: Literal["auto", "f32", "bf16"] = Field(
        default="auto", description="auto: bf16 where the processor has it."
    )
    port: int = Field(default=0, ge=0, le=65_535, description="0: chosen once and kept (local).")
    gate: Literal["required", "waived"] = Field(
        default="required", description="waived: a version without a passed evaluation gate may serve."
    )
    volume_gb: int = Field(default=0, ge=0, le=512, description="Disk of an instance; 0: the cloud's default (cloud).")
    start_seconds: int = Field(
        default=600, ge=60, le=3600, description="How long a server may take until it is ready (cloud)."
    )
    download_seconds: int = Field(
        default=600, ge=60, le=3600, description="How long the model's download may take (cloud)."
    )
    inference_ami_version: str = Field(
        default="",
        description="Of SageMaker's hosts, which an image's CUDA may need; empty: SageMaker's default (AWS).",
    )

    @property
    def version(self) -> ModelRef:
        """The promoted version in its parts."""
        return parse_promoted(self.model)


class Images(Part):
    """What runs and endpoints are made of, in a cloud; `llmops images push` writes it, on a twin `build`."""

    training: str = Field(default="", description="Image of training jobs, by digest.")
    serving: str = Field(default="", description="Image of endpoints, by digest.")

    @model_validator(mode="after")
    def _by_digest(self) -> "Images":
        for name, reference in ((n, getattr(self, n)) for n in Images.model_fields):
            if reference and not _DIGEST.search(reference):
                raise ValueError(f"{name}: {reference!r} is not by digest (…@sha256:<64 hex digits>)")
        return self


class Settings(Part):
    """All settings of a stack. Field names are the keys in the stack file, after the project's name and a colon."""

    target: str = Field(default="local", description="Where the stack lives (local, aws or azure).")
    endpoints: dict[Name, Endpoint] = Field(
        default={},
        description="Endpoints by name; each has a model and what docs/reference.md lists.",
    )
    local_home: str = Field(
        default=".llmops",
        min_length=1,
        description="Folder of everything that local stacks keep, relative to this file.",
    )
    local_runtime: Literal["process", "docker"] = Field(
        default="process", description="How local endpoints run their image (process or docker); runs are processes."
    )
    expires: Expiry = Field(
        default="",
        description="When the stack may go (2026-12-31, 2026-12-31T18:00Z): status and sweep name it then (cloud).",
    )
    images: Images = Field(default=Images(), description="Images of a cloud's runs and endpoints, by digest.")
    accepted_rules: dict[Annotated[str, AfterValidator(_rule)], Annotated[str, StringConstraints(min_length=1)]] = (
        Field(
            default={},
            description="Rules that the stack may break, each with the reason; `llmops plan` names them (cloud).",
        )
    )
    aws: AwsSettings = Field(default=AwsSettings(), description="Everything that only the target aws has.")
    azure: AzureSettings = Field(default=AzureSettings(), description="Everything that only the target azure has.")


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
    return setting_error(path, message_of(item), "change it in the stack file")


def _place(path: KeyPath) -> str:
    """`Pulumi.demo.yaml:7: llmops:endpoints.chatbot.size.instances`, or without the line where it can't be told."""
    project, stack = pulumi.get_project(), pulumi.get_stack()
    key = f"{project}:{'.'.join(str(p) for p in path)}"
    file = project_folder() / f"Pulumi.{stack}.yaml"
    if not file.is_file():
        return key
    from ruamel.yaml import YAML  # only a user's mistake comes here

    from contract.documents.document import line_of

    tree = YAML(typ="rt", pure=True).load(file.read_text())
    line = line_of(tree, ("config", f"{project}:{path[0]}", *path[1:]))
    return f"{file.name}:{line}: {key}"
