"""Settings of an endpoint that reach its engine: the stack, the server and the engine read the same fields."""

from typing import Any, Literal, get_args

from pydantic import Field

from llmops_kit.core.document import Part

ALWAYS_TOLD = ("precision",)
"""Fields whose variable a server always gets, even for the default."""


class EngineSettings(Part):
    """Settings of a server's engine. Each field is an environment variable of the server."""

    precision: Literal["auto", "f32", "bf16"] = Field(
        default="auto", description="auto: bf16 if the processor supports it."
    )
    prefix_cache: bool = Field(
        default=False,
        description="true: keep the computed prefixes of prompts, for callers who trust each other: the time to the "
        "first token reveals how another caller's prompt began. Not with transformers.",
    )


def engine_variable(field: str) -> str:
    """Returns the server's variable of a field of EngineSettings."""
    return f"LLMOPS_{field.upper()}"


def choices_of(field: str) -> tuple[str, ...]:
    """Returns the values that a field of EngineSettings takes, as texts; empty if they can't be listed."""
    annotation = EngineSettings.model_fields[field].annotation
    return ("false", "true") if annotation is bool else tuple(map(str, get_args(annotation)))


def engine_fields(settings: EngineSettings) -> dict[str, Any]:
    """Returns the fields of EngineSettings alone, from settings that may have more."""
    return {name: getattr(settings, name) for name in EngineSettings.model_fields}


def engine_variables(settings: EngineSettings) -> dict[str, str]:
    """Returns the server's variables for the settings that differ from the default, and for ALWAYS_TOLD."""
    defaults = engine_fields(EngineSettings())
    chosen = {
        name: value for name, value in engine_fields(settings).items() if name in ALWAYS_TOLD or value != defaults[name]
    }
    return {engine_variable(name): _text(value) for name, value in chosen.items()}


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
