"""Rules of each type: types.json (URL, names, replacement), shapes.json (its properties, from the SDK).

Paths of types.json are the SDK's names with `[]` for any index. Members of a type:
`path`: its URL, with `{name}` for parameters; `api_version`: the one of the SDK's class; `autoname`: how the last
parameter is named if a program gives no name (random, copy, uuid); `top`: the inputs at the top of the body, the others
belong into its `properties` ("all": the body has the shape of the inputs); `rename`: path -> the API's name; `replace`:
inputs whose change replaces the resource; `defaults`: values that the API assumes for absent inputs; `maintained`:
lists that other resources also fill; `defaults_on_removal`: the value sent for an input that a program has removed;
`query_params`: inputs in the URL's query; `async`: the operations that are polled until they end; `singleton`: it
exists with its parent, and can't be deleted; `required`: required inputs beyond the SDK's; `limits`: path -> limits of
a value: `shortest` and `longest` of texts, `pattern`, `least` and `most` of numbers.
`_flattened`: objects whose members, except those listed, are in a `properties` object of their own in the API.
`_actions`: functions that POST an action to a resource.
"""

import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
Shape = Any
"""A shape in shapes.json: "string", [shape], {"*": shape}, {"is": name}, {"one of": [name]}, {"const"}, {"set"}."""
RAW_PARAMETERS = ("scope", "resourceUri")
"""Path parameters that are ids themselves: inserted unchanged, without slashes around them."""
_PARAMETER = re.compile(r"{(\w+)}")


@dataclass(frozen=True)
class TypeRules:
    """A type in azure-native's schema: its path, its API version, its inputs' shapes and names."""

    token: str
    api_version: str
    path: str
    autoname: str
    top: frozenset[str] | None
    """None if the body has the shape of the inputs."""
    inputs: dict[str, Shape]
    """All inputs, including path and query parameters."""
    required: frozenset[str]
    outputs: dict[str, Shape]
    rename: dict[str, str] = field(default_factory=dict)
    replace: frozenset[str] = frozenset()
    defaults: dict[str, Any] = field(default_factory=dict)
    maintained: tuple[str, ...] = ()
    defaults_on_removal: dict[str, Any] = field(default_factory=dict)
    query: dict[str, str] = field(default_factory=dict)
    """Input -> query parameter."""
    waits: frozenset[str] = frozenset()
    """`put` and `delete`, if they are long-running according to the API's specification."""
    singleton: bool = False
    data_plane_delete: bool = False
    """Whether ARM has no DELETE for the type."""
    limits: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def parameters(self) -> dict[str, str]:
        """Path parameter -> input."""
        return {name: name[0].lower() + name[1:] for name in _PARAMETER.findall(self.path) if name != "subscriptionId"}

    @property
    def named(self) -> str:
        """The input that names the resource."""
        return list(self.parameters.values())[-1]

    @property
    def body(self) -> dict[str, Shape]:
        """Inputs that go into the body of a PUT, by name; the others are in the path or the query."""
        apart = {*self.parameters.values(), *self.query}
        return {name: shape for name, shape in self.inputs.items() if name not in apart}

    def api_path(self, path: str) -> tuple[str, ...]:
        """Returns the path in the body of an input's path (`a.b`)."""
        first, *rest = path.split(".")
        place = (self.rename.get(first, first), *rest)
        return place if self.top is None or first in self.top else ("properties", *place)


@dataclass(frozen=True)
class Definition:
    """An object that types share."""

    properties: dict[str, Shape]
    required: frozenset[str]
    top: frozenset[str] | None
    """Members of a flattened object that stay at the top; the others are in `properties`."""

    def fits(self, value: Mapping[str, Any], rename: Mapping[str, str] | None = None) -> bool:
        """Returns whether a value has this object's constants."""
        constants = {n: s["const"] for n, s in self.properties.items() if isinstance(s, dict) and "const" in s}
        return all(value.get((rename or {}).get(n, n)) == told for n, told in constants.items())


@functools.cache
def tokens() -> tuple[str, ...]:
    """Returns every known type."""
    return tuple(_types()["types"])


@functools.cache
def rules(token: str) -> TypeRules:
    """Returns a type's rules.

    Raises:
        KeyError: the type is unknown.
    """
    told, shapes = _types()["types"][token], _shapes()["types"][token]
    inputs = _plain(shapes["inputs"])
    return TypeRules(
        token=token,
        api_version=told["api_version"],
        path=told["path"],
        autoname=told["autoname"],
        top=None if told["top"] == "all" else frozenset(told["top"]),
        inputs=inputs,
        required=_required(shapes["inputs"]) | frozenset(told.get("required", ())),
        outputs={name: shape for name, shape in shapes["outputs"].items() if name != "azureApiVersion"},
        rename=told.get("rename", {}),
        replace=frozenset(told.get("replace", ())),
        defaults=told.get("defaults", {}),
        maintained=tuple(told.get("maintained", ())),
        defaults_on_removal=told.get("defaults_on_removal", {}),
        query=told.get("query_params", {}),
        waits=frozenset(told.get("async", ())),
        singleton=told.get("singleton", False),
        data_plane_delete=told.get("delete") == "data plane",
        limits=told.get("limits", {}),
    )


@functools.cache
def definition(name: str) -> Definition:
    """Returns an object's definition by its name, `network.Subnet`."""
    shape = _shapes()["definitions"][name]
    top = _types()["flattened"].get(name)
    return Definition(_plain(shape), _required(shape), None if top is None else frozenset(top))


def actions() -> dict[str, tuple[str, str]]:
    """Returns function -> (type, action that it POSTs)."""
    return {name: (token, action) for name, (token, action) in _types()["actions"].items()}


@functools.cache
def _types() -> dict[str, Any]:
    told = json.loads((FOLDER / "types.json").read_text())
    types = {token: each for token, each in told.items() if not token.startswith("_")}
    return {"types": types, "flattened": told["_flattened"], "actions": told["_actions"]}


@functools.cache
def _shapes() -> dict[str, Any]:
    return json.loads((FOLDER / "shapes.json").read_text())


def _plain(shape: Mapping[str, Shape]) -> dict[str, Shape]:
    return {name.removesuffix("!"): inner for name, inner in shape.items()}


def _required(shape: Mapping[str, Shape]) -> frozenset[str]:
    return frozenset(name.removesuffix("!") for name in shape if name.endswith("!"))
