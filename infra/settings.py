"""The only reader of Pulumi config: typed, frozen; every error names the key, the stack file's line and the way out.

Keys, types, defaults and descriptions are declared once more in Pulumi.yaml, for `pulumi config` and its users; a test
keeps the two equal.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pulumi
from pulumi.runtime.config import CONFIG, get_config_env
from pydantic import AfterValidator, Field, ValidationError, model_validator

from contract.documents import Part
from contract.errors import KitError, SettingError
from contract.names import ModelRef, Name, parse_promoted

KeyPath = tuple[int | str, ...]


def _promoted(text: str) -> str:
    try:
        parse_promoted(text)
    except KitError as e:
        raise ValueError(f"{e.what}; {e.fix}") from None
    return text


class Size(Part):
    """How much serves an endpoint."""

    instances: int = Field(default=1, ge=1, le=64, description="Workers (local).")


class Rollout(Part):
    """How an endpoint goes from one model version to another."""

    strategy: Literal["all_at_once", "canary"] = "all_at_once"
    canary_percent: int = Field(default=10, ge=1, le=99, description="Share of the requests that the canary takes.")
    bake_seconds: int = Field(default=30, ge=0, le=86_400, description="How long the canary must do well.")

    @model_validator(mode="after")
    def _canary_only(self) -> "Rollout":
        given = self.model_fields_set & {"canary_percent", "bake_seconds"}
        if given and self.strategy != "canary":
            raise ValueError(f"{' and '.join(sorted(given))} have no effect without `strategy: canary`; add it")
        return self


class Endpoint(Part):
    """An entry of `endpoints`."""

    model: Annotated[str, AfterValidator(_promoted)] = Field(
        description="Promoted version, name@number@sha256:<64 hex digits>; `llmops promote` writes it."
    )
    endpoint: bool = Field(default=True, description="on, or off: stopped, everything else is kept.")
    size: Size = Size()
    rollout: Rollout = Rollout()
    precision: Literal["auto", "f32", "bf16"] = Field(
        default="auto", description="auto: bf16 where the processor has it."
    )
    port: int = Field(default=0, ge=0, le=65_535, description="0: chosen once and kept (local).")
    gate: Literal["required", "waived"] = Field(
        default="required", description="waived: a version without a passed evaluation gate may serve."
    )

    @property
    def version(self) -> ModelRef:
        """The promoted version in its parts."""
        return parse_promoted(self.model)


class Settings(Part):
    """All settings of a stack. Field names are the keys in the stack file, after the project's name and a colon."""

    target: str = Field(default="local", description="Where the stack lives (local; aws and azure follow).")
    endpoints: dict[Name, Endpoint] = Field(
        default={},
        description="Endpoints by name; each has model, endpoint, size, rollout, precision, port, gate.",
    )
    local_home: str = Field(
        default=".llmops",
        min_length=1,
        description="Folder of everything that local stacks keep, relative to this file.",
    )
    local_runtime: Literal["process", "docker"] = Field(
        default="process", description="How local endpoints run their image (process or docker); runs are processes."
    )


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
    data: dict[str, Any] = dict(values)
    if "endpoints" in data:
        data["endpoints"] = _decode(data["endpoints"])
    try:
        return Settings.model_validate(data)
    except ValidationError as e:
        raise _explain(e) from None


def setting_error(path: KeyPath, what: str, fix: str) -> SettingError:
    """An error about the setting at `path`, such as ("endpoints", "chatbot", "model")."""
    return SettingError(what, where=_place(path), fix=fix)


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
    more = "".join(f"\n  {e.where}: {e.what}\n    way out: {e.fix}" for e in others)
    return SettingError(first.what, where=first.where, fix=first.fix + more)


def _finding(item: Mapping[str, Any]) -> SettingError:
    path: KeyPath = item["loc"]
    if path[-1] == "[key]":
        return setting_error(path[:-1], item["msg"], "a name has 3-32 small letters, digits and single dashes")
    if item["type"] == "extra_forbidden":
        known = ", ".join(_known_keys(path))
        return setting_error(path, "unknown key", f"remove it, or write one of: {known}")
    if item["type"] == "missing":
        return setting_error(path, "is missing", "`llmops promote name@number` writes it")
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "value_error":
        return setting_error(path, message, "change it in the stack file")
    return setting_error(path, f"{message} (found {item['input']!r})", "change it in the stack file")


def _known_keys(path: KeyPath) -> list[str]:
    if len(path) == 1:
        return list(Settings.model_fields)
    model: type[Part] = {"size": Size, "rollout": Rollout}.get(str(path[2]), Endpoint) if len(path) > 3 else Endpoint
    return list(model.model_fields)


def _place(path: KeyPath) -> str:
    """`Pulumi.demo.yaml:7: llmops:endpoints.chatbot.size.instances`, or without the line where it can't be told."""
    project, stack = pulumi.get_project(), pulumi.get_stack()
    key = f"{project}:{'.'.join(str(p) for p in path)}"
    file = project_folder() / f"Pulumi.{stack}.yaml"
    if not file.is_file():
        return key
    from ruamel.yaml import YAML  # only a user's mistake comes here

    from contract.documents import line_of

    tree = YAML(typ="rt", pure=True).load(file.read_text())
    line = line_of(tree, ("config", f"{project}:{path[0]}", *path[1:]))
    return f"{file.name}:{line}: {key}"
