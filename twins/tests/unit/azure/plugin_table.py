"""What the stand-in plugin's table (shapes.json, types.json) says a type's body is, path by path."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from llmops_twins.azure.protocol.ids import Id
from llmops_twins.plugins.azure_native.rules import definition, rules, tokens

BESIDE = (
    "id",
    "name",
    "type",
    "etag",
    "systemData",
    "location",
    "tags",
    "identity",
    "sku",
    "kind",
    "zones",
    "managedBy",
)
"""What an answer has beside `properties`, whether or not a body may have it."""


@dataclass(frozen=True)
class Entry:
    """A member: `kind` is string, integer, number, boolean, any, list, map, object, or "shown" (of answers alone)."""

    path: str
    kind: str
    required: bool = False
    constants: frozenset[str] = frozenset()


def types() -> dict[str, str]:
    """Every type of the table, as it is spelled there -> azure-native's token."""
    return {Id.parse(rules(token).path).type: token for token in tokens()}


def entries(token: str) -> Iterator[Entry]:
    """Every member of a body, and those that only answers have, at the top and in `properties`."""
    known = rules(token)
    for name, shape in known.body.items():
        place = known.api_path(name)
        walk = _Walk(known.rename)
        yield from walk.member(".".join(place), name, shape, name in known.required, ())
    if "properties" not in known.outputs and "properties" not in known.body:
        for name in known.outputs.keys() - known.body.keys():
            place = (known.rename.get(name, name),)
            yield Entry(".".join(place if name in BESIDE else ("properties", *place)), "shown")


class _Walk:
    def __init__(self, rename: Mapping[str, str]) -> None:
        self._rename = rename

    def member(self, path: str, told: str, shape: Any, required: bool, above: tuple[str, ...]) -> Iterator[Entry]:
        kind = _kind(shape)
        constants = frozenset([shape["const"]]) if isinstance(shape, dict) and "const" in shape else frozenset()
        yield Entry(path, kind, required, constants)
        if isinstance(shape, list):
            yield from self.inside(f"{path}[]", f"{told}[]", shape[0], above)
        elif kind == "map" and "*" in shape:
            yield from self.inside(f"{path}.*", f"{told}.*", shape["*"], above)
        else:
            yield from self.inside(path, told, shape, above)

    def inside(self, path: str, told: str, shape: Any, above: tuple[str, ...]) -> Iterator[Entry]:
        if not isinstance(shape, dict):
            if above is not None and path.endswith(("[]", ".*")):
                yield Entry(path, _kind(shape))
            return
        for name in [shape["is"]] if "is" in shape else shape.get("one of", []):
            if name in above:
                continue
            known = definition(name)
            for inner, its in known.properties.items():
                beside = known.top is None or inner in known.top
                called = self._rename.get(f"{told}.{inner}", inner)
                called = called.replace(".", "\\.")
                place = f"{path}.{called}" if beside else f"{path}.properties.{called}"
                needed = inner in known.required
                yield from self.member(place, f"{told}.{inner}", its, needed, (*above, name))


def _kind(shape: Any) -> str:
    if isinstance(shape, list):
        return "list"
    if not isinstance(shape, dict):
        return shape
    if "const" in shape:
        return "string"
    return "map" if "*" in shape or "set" in shape else "object"
