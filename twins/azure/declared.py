"""Bodies of resources as azure-native declares them, the SDK that is generated from Azure's own specifications.

Names, nesting, types and what must be given are twins/providers/azure_native's (shapes.json, types.json). What is in
its outputs alone is read-only. twins/azure/bodies.py says how the shapes made here are written.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from twins.azure.ids import Id
from twins.providers.azure_native.rules import Definition, Rules, definition, rules, tokens

READ_ONLY = "read only"
_RESOURCE = ("id", "name", "type", "etag", "systemData")
"""The platform's own beside `properties`, of every resource."""
_BESIDE = (*_RESOURCE, "location", "tags", "identity", "sku", "kind", "zones", "managedBy", "extendedLocation")
"""What an answer has beside `properties`, whether or not a body may have it."""


@dataclass(frozen=True)
class Stricter:
    """What the declaration can't say. Paths are those of the API: `properties.rules[].operator`, `properties.x.*.y`.

    Args:
        values: path -> another type of a text: the texts that are allowed, or "date".
        required: paths of what must be given besides.
        more: path -> shape of what azure-native's version of the API does not have, or READ_ONLY.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    more: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Variants:
    """One of several objects, which the text of a member tells apart."""

    member: str
    shapes: Mapping[str, Any]


class Members(Mapping[str, Any]):
    """An object's shape that is made when it is looked at: an object may hold itself."""

    def __init__(self, make: Callable[[], dict[str, Any]]) -> None:
        self._make = make

    @functools.cached_property
    def _made(self) -> dict[str, Any]:
        return self._make()

    def __getitem__(self, name: str) -> Any:
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._made)

    def __len__(self) -> int:
        return len(self._made)


def types() -> dict[str, str]:
    """Every type that is declared, in lower case -> azure-native's token."""
    return {Id.parse(rules(token).path).type.lower(): token for token in tokens()}


def shape_of(type_: str, stricter: Stricter) -> dict[str, Any]:
    """The shape of the body of a PUT.

    Raises:
        KeyError: the type is not declared.
        ValueError: `stricter` names what is not declared, or as missing what is.
    """
    known = rules(types()[type_.lower()])
    plain = _Walk(known, Stricter()).body()
    for path in stricter.more:
        if _leads(plain, path):
            raise ValueError(f"{type_}: {path} is declared")
    shape = _Walk(known, stricter).body()
    for path in (*stricter.values, *stricter.required, *stricter.more):
        if not _leads(shape, path):
            raise ValueError(f"{type_}: {path} is not declared")
    return shape


class _Walk:
    """From azure-native's shapes to those of bodies. `path` is the API's, `told` the SDK's (what `rename` has)."""

    def __init__(self, known: Rules, stricter: Stricter) -> None:
        self._known = known
        self._stricter = stricter

    def body(self) -> dict[str, Any]:
        known = self._known
        top, inner = self._added(""), self._added("properties")
        for name, shape in known.body.items():
            if name in _RESOURCE and (known.top is None or name in known.top):
                continue
            place = known.api_path(name)
            path = ".".join(place)
            required = name in known.required and name != "location"  # whether it is needed is ARM's own rule
            shown = known.outputs.get(name)
            made = self._properties(shape, shown) if path == "properties" else self._shape(shape, shown, name, path)
            (top if len(place) == 1 else inner)[self._marked(place[-1], path, required=required)] = made
        for name in known.outputs.keys() - known.body.keys() - {"properties"}:
            (top if name in _BESIDE else inner)[f"{known.rename.get(name, name)}-"] = ""
        top |= {f"{name}-": "" for name in _RESOURCE}
        if not {"properties", "properties!"} & top.keys():
            top["properties"] = {**inner, "provisioningState-": ""}
        return top

    def _properties(self, shape: Any, shown: Any) -> Members:
        """Of a type whose inputs have `properties` of their own; its outputs may show them without."""
        outputs = _shown(shown) or {name: s for name, s in self._known.outputs.items() if name not in _BESIDE}
        return self._object(definition(shape["is"]), outputs, "properties", "properties")

    def _shape(self, shape: Any, shown: Any, told: str, path: str) -> Any:
        if isinstance(shape, list):
            return [self._shape(shape[0], shown[0] if isinstance(shown, list) else None, f"{told}[]", f"{path}[]")]
        if not isinstance(shape, dict):
            return self._stricter.values.get(path, shape)
        if "const" in shape:
            return (shape["const"],)
        if "set" in shape:
            return {"*": "any"}
        if "*" in shape:
            inner = shown.get("*") if isinstance(shown, dict) else None
            return {"*": self._shape(shape["*"], inner, f"{told}.*", f"{path}.*")}
        if "one of" in shape:
            return self._variants(shape["one of"], shown, told, path)
        return self._object(definition(shape["is"]), _shown(shown), told, path)

    def _variants(self, names: list[str], shown: Any, told: str, path: str) -> Variants:
        answers = shown.get("one of", ()) if isinstance(shown, dict) else ()
        made: dict[str, Any] = {}
        member = ""
        for name in names:
            known = definition(name)
            member, text = next(
                (n, s["const"]) for n, s in known.properties.items() if isinstance(s, dict) and "const" in s
            )
            answer = f"{name}Response"
            outputs = definition(answer).properties if answer in answers else {}
            made[text] = self._object(known, outputs, told, path)
        return Variants(self._known.rename.get(f"{told}.{member}", member), made)

    def _object(self, known: Definition, outputs: Mapping[str, Any], told: str, path: str) -> Members:
        return Members(lambda: self._members(known, outputs, told, path))

    def _members(self, known: Definition, outputs: Mapping[str, Any], told: str, path: str) -> dict[str, Any]:
        flattened = known.top is not None
        top = self._added(path)
        inner = self._added(f"{path}.properties") if flattened else top
        for name, shape in known.properties.items():
            beside = known.top is None or name in known.top
            called = self._known.rename.get(f"{told}.{name}", name)
            place = f"{path}.{called}" if beside else f"{path}.properties.{called}"
            marked = self._marked(called, place, required=name in known.required)
            (top if beside else inner)[marked] = self._shape(shape, outputs.get(name), f"{told}.{name}", place)
        for name in outputs.keys() - known.properties.keys():
            beside = not flattened or name in _BESIDE
            (top if beside else inner)[f"{self._known.rename.get(f'{told}.{name}', name)}-"] = ""
        if flattened:
            required = any(name.endswith("!") for name in inner)
            top[self._marked("properties", f"{path}.properties", required=required)] = inner
        return top

    def _added(self, path: str) -> dict[str, Any]:
        """What `more` has right below a path."""
        below = {
            p.rpartition(".")[2]: shape for p, shape in self._stricter.more.items() if p.rpartition(".")[0] == path
        }
        return {f"{name}-" if shape == READ_ONLY else name: shape for name, shape in below.items()}

    def _marked(self, name: str, path: str, *, required: bool) -> str:
        return f"{name}!" if required or path in self._stricter.required else name


def _shown(shape: Any) -> Mapping[str, Any]:
    """The members that an answer's object has."""
    return definition(shape["is"]).properties if isinstance(shape, dict) and "is" in shape else {}


def _leads(shape: Any, path: str) -> bool:
    """Is there anything at a path?"""
    name, _, rest = path.partition(".")
    if isinstance(shape, Variants):
        return any(_leads(each, path) for each in shape.shapes.values())
    if not isinstance(shape, Mapping):
        return False
    written = next((each for each in shape if each.rstrip("!-") == name.removesuffix("[]")), None)
    if written is None:
        return False
    inner = shape[written]
    if name.endswith("[]"):
        if not isinstance(inner, list):
            return False
        inner = inner[0]
    return not rest or _leads(inner, rest)
