"""Derives the shapes of Azure types' properties from pulumi_azure_native, the generated SDK.

A shape is "string", "integer", "number", "boolean" or "any"; [shape] is a list, {"*": shape} a map, {"is": name} an
object of `definitions`, {"one of": [names]} one of several, {"const": text} an object's discriminator, and
{"set": "string"} a list of texts that the API represents as the keys of an object. A name that ends in "!" is required.

`python -m tools.sdk_shapes.azure_native` writes them to shapes.json.
"""

import collections.abc
import importlib
import json
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pulumi import Output, _types

FOLDER = Path(__file__).resolve().parents[2] / "twins" / "llmops_twins" / "plugins" / "azure_native"
SCALARS = {str: "string", int: "integer", float: "number", bool: "boolean", typing.Any: "any"}
_VERSION = re.compile(r"Uses Azure REST API version (\S+?)\.\s")
_CONSTANT = re.compile(r"Expected value is '(.*)'\.")


def all_shapes() -> dict[str, Any]:
    """Returns {"types": token -> {version, inputs, outputs}, "definitions": name -> object} for types.json's types."""
    tokens = [t for t in json.loads((FOLDER / "types.json").read_text()) if not t.startswith("_")]
    walk = _Walk()
    types = {token: walk.of_type(token) for token in sorted(tokens)}
    walk.tell_outputs_by_inputs(types)
    return {"types": types, "definitions": dict(sorted(walk.definitions.items()))}


def text(shapes: dict[str, Any]) -> str:
    """Returns the file's text: a line for each definition and each side of a type."""
    types = [
        f'  "{token}": {{\n' + ",\n".join(f'   "{name}": {_line(side)}' for name, side in sides.items()) + "\n  }"
        for token, sides in shapes["types"].items()
    ]
    definitions = [f'  "{name}": {_line(shape)}' for name, shape in shapes["definitions"].items()]
    return '{\n "types": {\n' + ",\n".join(types) + '\n },\n "definitions": {\n' + ",\n".join(definitions) + "\n }\n}\n"


def _line(node: Any) -> str:
    return json.dumps(node, sort_keys=True)


class _Walk:
    """Follows properties from type to type."""

    def __init__(self) -> None:
        self.definitions: dict[str, Any] = {}

    def of_type(self, token: str) -> dict[str, Any]:
        _, package, name = token.split(":")
        resource = getattr(importlib.import_module(f"pulumi_azure_native.{package}"), name)
        home = importlib.import_module(resource.__module__)
        arguments = getattr(home, f"{name}InitArgs", None) or getattr(home, f"{name}Args")
        version = _VERSION.search(resource.__init__.__doc__ or _text(resource))
        return {
            "version": version[1] if version else "",
            "inputs": self._inputs(arguments),
            "outputs": self._members(resource),
        }

    def tell_outputs_by_inputs(self, types: dict[str, Any]) -> None:
        """Adds to inputs and outputs what the SDK states for one of the two only.

        An input list of texts whose output is a map is the keys of an object in the API. If an input is one of several
        objects, the SDK types the output as `Any`.
        """
        told = 0
        while told != (told := len(self.definitions)):
            pairs = [(t["inputs"], t["outputs"]) for t in types.values()]
            pairs += [(shape, self.definitions.get(f"{n}Response", {})) for n, shape in self.definitions.items()]
            pairs += [pair for inputs, outputs in pairs for pair in self._of_other_names(inputs, outputs)]
            for inputs, outputs in pairs:
                for name, shape in inputs.items():
                    shown = outputs.get(name.removesuffix("!"))
                    if shape == ["string"] and "*" in (shown or ()):
                        inputs[name] = {"set": "string"}
                    elif shown == "any":
                        outputs[name.removesuffix("!")] = self._shown(shape)

    def _of_other_names(self, inputs: dict[str, Any], outputs: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
        """Yields pairs of input and output objects of the same member whose names don't match."""
        for name, shape in inputs.items():
            shown = outputs.get(name.removesuffix("!"))
            if isinstance(shape, dict) and "is" in shape and isinstance(shown, dict) and "is" in shown:
                yield self.definitions[shape["is"]], self.definitions[shown["is"]]

    def _shown(self, shape: Any) -> Any:
        if isinstance(shape, dict) and ("is" in shape or "one of" in shape):
            names = shape["one of"] if "one of" in shape else [shape["is"]]
            return {"one of": [name for each in names if (name := self._response(each))]}
        return "any"

    def _response(self, name: str) -> str:
        package, _, kind = name.partition(".")
        outputs = importlib.import_module(f"pulumi_azure_native.{package}.outputs")
        response = getattr(outputs, f"{kind}Response", None)
        return self._defined(response, self._members) if response else ""

    def _inputs(self, kind: type) -> dict[str, Any]:
        hints = _types._raw_return_hints(kind)
        return {
            name + ("" if type(None) in typing.get_args(hints[name]) else "!"): shape
            for name, shape in self._members(kind).items()
        }

    def _members(self, kind: type) -> dict[str, Any]:
        getters = {pulumi: getter.fget for _, pulumi, getter in _types._py_properties(kind)}
        found = {}
        for name, hint in _types._raw_return_hints(kind).items():
            constant = _CONSTANT.search(getters[name].__doc__ or "")
            found[name] = {"const": constant[1]} if constant else self._node(hint)
        return found

    def _node(self, hint: Any) -> Any:
        if hint in SCALARS:
            return SCALARS[hint]
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if origin is Output:
            return self._node(arguments[0])
        if origin is typing.Union:
            return self._one_of([a for a in arguments if a is not type(None) and not _types._is_plumbing_arg(a)])
        if origin in (list, collections.abc.Sequence):
            return [self._node(arguments[0])]
        if origin in (dict, collections.abc.Mapping):
            return {"*": self._node(arguments[1])}
        if isinstance(hint, type) and _types.is_input_type(hint):
            return {"is": self._defined(hint, self._inputs)}
        if isinstance(hint, type) and _types.is_output_type(hint):
            return {"is": self._defined(hint, self._members)}
        if isinstance(hint, type) and issubclass(hint, str | float | int):
            return next(word for kind, word in SCALARS.items() if kind is not typing.Any and issubclass(hint, kind))
        raise TypeError(f"{hint}: no shape known")

    def _one_of(self, kinds: list[Any]) -> Any:
        nodes = [self._node(kind) for kind in kinds]
        if all(isinstance(node, dict) and "is" in node for node in nodes):
            return nodes[0] if len(nodes) == 1 else {"one of": [node["is"] for node in nodes]}
        return nodes[0]

    def _defined(self, kind: type, read: Any) -> str:
        package = kind.__module__.split(".")[1]
        name = f"{package}.{kind.__name__.removesuffix('Args')}"
        if name not in self.definitions:
            self.definitions[name] = {}
            self.definitions[name] = read(kind)
        return name


def _text(resource: type) -> str:
    return Path(str(importlib.import_module(resource.__module__).__file__)).read_text()


if __name__ == "__main__":
    (FOLDER / "shapes.json").write_text(text(all_shapes()))
