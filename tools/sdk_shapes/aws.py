"""Derives the shapes of AWS types' properties from pulumi_aws, the generated SDK.

A shape is "string", "integer", "number", "boolean" or "text or object" (JSON); [shape] is a list, {"*": shape} a map,
{name: shape} an object; a name that ends in "!" is required.

`python -m tools.sdk_shapes.aws` writes them to plugins/aws/properties.json.
"""

import importlib
import json
import typing
from pathlib import Path
from typing import Any

from pulumi import _types

FOLDER = Path(__file__).resolve().parents[2] / "twins" / "llmops_twins" / "plugins" / "aws"
SCALARS = {str: "string", int: "integer", float: "number", bool: "boolean"}


def all_properties() -> dict[str, Any]:
    """Returns token -> {"inputs": object, "outputs": object of further properties} for the types of types.json."""
    tokens = [t for t in json.loads((FOLDER / "types.json").read_text()) if not t.startswith("_")]
    return {token: _properties(token) for token in sorted(tokens)}


def text(properties: dict[str, Any]) -> str:
    """Returns the file's text: a line for each side of a type."""
    lines = [
        f' "{t}": {{\n  "inputs": {_line(p["inputs"])},\n  "outputs": {_line(p["outputs"])}\n }}'
        for t, p in properties.items()
    ]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _line(node: Any) -> str:
    return json.dumps(node, sort_keys=True)


def _properties(token: str) -> dict[str, Any]:
    module_name, _, name = token.removeprefix("aws:").partition(":")
    package, _, _file = module_name.partition("/")
    module = importlib.import_module(f"pulumi_aws.{package}")
    resource = getattr(module, name)
    home = importlib.import_module(resource.__module__)
    # If a nested type has the resource's name, the generator names the resource's own arguments InitArgs.
    inputs = _object(getattr(home, f"{name}InitArgs", None) or getattr(home, f"{name}Args"))
    outputs = _object(getattr(home, f"_{name}State"), required=False)
    known = {name.removesuffix("!") for name in inputs}
    return {"inputs": inputs, "outputs": {name: shape for name, shape in outputs.items() if name not in known}}


def _is_enum(kind: Any) -> bool:
    return isinstance(kind, str) or (isinstance(kind, type) and issubclass(kind, str))


def _object(kind: type, *, required: bool = True) -> dict[str, Any]:
    names = {pulumi: python for python, pulumi in _types.input_type_py_to_pulumi_names(kind).items()}
    found = {}
    for name, hint in _types.input_type_types(kind).items():
        optional = not required or _is_optional(_raw(kind, names[name]))
        found[name + ("" if optional else "!")] = _node(hint)
    return found


def _raw(kind: type, name: str) -> Any:
    return typing.get_type_hints(getattr(kind, name).fget, vars(importlib.import_module(kind.__module__)), None)[
        "return"
    ]


def _is_optional(hint: Any) -> bool:
    return type(None) in typing.get_args(hint)


def _node(hint: Any) -> Any:
    hint = _types.unwrap_type(hint)
    if hint in SCALARS:
        return SCALARS[hint]
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Union or str(origin) == "<class 'types.UnionType'>":
        kinds = [a for a in arguments if a is not type(None)]
        return "text or object" if kinds[0] is str and len(kinds) > 1 and not _is_enum(kinds[1]) else _node(kinds[0])
    if origin in (list, typing.get_origin(typing.Sequence[str])):
        return [_node(arguments[0])]
    if origin in (dict, typing.get_origin(typing.Mapping[str, str])):
        return {"*": _node(arguments[1])}
    if isinstance(hint, type) and _types.is_input_type(hint):
        return _object(hint)
    if isinstance(hint, type) and issubclass(hint, str):
        return "string"
    raise TypeError(f"{hint}: no shape known")


if __name__ == "__main__":
    (FOLDER / "properties.json").write_text(text(all_properties()))
