"""Rules of each type: types.json (how the real plugin treats it), properties.json (its properties' shapes)."""

import functools
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TEXT_OR_OBJECT = "text or object"
FOLDER = Path(__file__).parent
Shape = Any
"""A shape in properties.json: "string", [shape], {"*": shape}, {"name": shape}; without the mark of required names."""


@dataclass(frozen=True)
class AwsTypeRules:
    """The rules of one type. Paths are the SDK's names with `[]` for any index."""

    token: str
    inputs: dict[str, Shape]
    outputs: dict[str, Shape]
    """Properties that are no inputs."""
    objects: frozenset[str]
    """Inputs that accept an object in place of a JSON text."""
    required: frozenset[str]
    """Paths of values that are required if their parent is given."""
    replace: tuple[str, ...]
    replace_when: dict[str, dict[str, Any]]
    """Path -> the condition on which a change replaces; see `differ.replaces`."""
    defaults: dict[str, Any]
    computed: frozenset[str]
    """Inputs that the cloud fills in if they are absent."""
    rules: dict[str, dict[str, Any]]
    """Path -> the rule for its value; see `judges`."""
    conflicts: tuple[tuple[str, str], ...]
    exactly_one: tuple[tuple[str, ...], ...]
    at_least_one: tuple[tuple[str, ...], ...]
    needs: dict[str, tuple[str, ...]]
    """Property -> other properties that it requires."""
    required_unless: dict[str, str]
    """Property -> the property without which it is required."""
    exactly_one_with: dict[str, tuple[str, ...]]
    """Property -> group of which exactly one member must be given with it."""
    same: dict[str, str]
    """Path -> how values are compared beyond equality; see `equivalence`."""
    ordered: frozenset[str]
    """Lists of plain values whose order matters; other such lists are sets."""
    sets: frozenset[str]
    """Lists of objects that are sets."""
    autoname: dict[str, Any] | None
    delete_before_replace: bool
    changing: tuple[str, ...]
    """Outputs that an update changes, and that are unknown in its preview."""

    @property
    def properties(self) -> dict[str, Shape]:
        """The shapes of inputs and outputs."""
        return {**self.inputs, **self.outputs}

    @property
    def tagged(self) -> bool:
        """Whether the type takes tags, which it then has as `tagsAll` too."""
        return "tagsAll" in self.outputs

    @property
    def regional(self) -> bool:
        """Whether a resource may name a region other than its provider's."""
        return "region" in self.inputs

    def is_set(self, path: str, values: list[Any]) -> bool:
        """Returns whether the order of the list at `path` doesn't matter."""
        if path in self.sets:
            return True
        return path not in self.ordered and not any(isinstance(v, dict) for v in values)


@functools.cache
def tokens() -> tuple[str, ...]:
    """Returns every known type."""
    return tuple(t for t in _types() if not t.startswith("_"))


@functools.cache
def rules(token: str) -> AwsTypeRules:
    """Returns a type's rules.

    Raises:
        KeyError: the type is unknown.
    """
    told, shapes = _types()[token], _properties()[token]
    inputs = _unmarked(shapes["inputs"])
    return AwsTypeRules(
        token=token,
        inputs=inputs,
        outputs=_unmarked(shapes["outputs"]),
        objects=frozenset(n.removesuffix("!") for n, s in shapes["inputs"].items() if s == TEXT_OR_OBJECT),
        required=frozenset(_required(shapes["inputs"])),
        replace=tuple(dict.fromkeys([*told.get("replace", ()), *(["region"] if "region" in inputs else [])])),
        replace_when=told.get("replace_when", {}),
        defaults=told.get("defaults", {}),
        computed=frozenset(path.split(" ")[0] for path in told.get("computed_inputs", ())),
        rules=told.get("rules", {}),
        conflicts=tuple((a, b) for a, b in told.get("conflicts", ())),
        exactly_one=tuple(map(tuple, told.get("exactly_one", ()))),
        at_least_one=tuple(map(tuple, told.get("at_least_one", ()))),
        needs={name: tuple(others) for name, others in told.get("needs", {}).items()},
        required_unless=told.get("required_unless", {}),
        exactly_one_with={name: tuple(group) for name, group in told.get("exactly_one_with", {}).items()},
        same=told.get("same", {}),
        ordered=frozenset(told.get("ordered", ())),
        sets=frozenset(told.get("sets", ())),
        autoname=_autoname(told.get("autonaming"), inputs),
        delete_before_replace=told.get("delete_before_replace", False),
        changing=tuple(told.get("changing", ())),
    )


def snake(path: str) -> str:
    """Returns a property's name in Terraform's form: `modelDataUrl` -> `model_data_url`."""
    return re.sub(r"(?<=[a-z0-9])([A-Z])", lambda m: f"_{m[1].lower()}", path)


def _autoname(told: dict[str, Any] | None, inputs: dict[str, Shape]) -> dict[str, Any] | None:
    """Returns how a name is generated if it is absent: {property, max, prefix, suffix_when, lower}; None if it is
    not.
    """
    if told is not None or "name" not in inputs:
        return told
    return {"property": "name", "max": 255}


@functools.cache
def _types() -> dict[str, Any]:
    return json.loads((FOLDER / "types.json").read_text())


@functools.cache
def _properties() -> dict[str, Any]:
    return json.loads((FOLDER / "properties.json").read_text())


def _unmarked(shape: Shape) -> Shape:
    if isinstance(shape, list):
        return [_unmarked(shape[0])]
    if isinstance(shape, dict):
        return {name.removesuffix("!"): _unmarked(inner) for name, inner in shape.items()}
    return "string" if shape == TEXT_OR_OBJECT else shape


def _required(shape: Shape, path: str = "") -> list[str]:
    if isinstance(shape, list):
        return _required(shape[0], f"{path}[]")
    if not isinstance(shape, dict) or "*" in shape:
        return []
    found = []
    for name, inner in shape.items():
        inside = f"{path}.{name.removesuffix('!')}" if path else name.removesuffix("!")
        found += [inside] if name.endswith("!") else []
        found += _required(inner, inside)
    return found
