"""Limits of untrusted JSON schemas, checked before they are compiled, resolved or expanded.

The check takes time linear in the size of the schemas. These counts bound the later cost of patterns, references and
lists.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import unquote

from llmops_kit.core.errors import DocumentError
from llmops_kit.core.json_schema.patterns import size_of_pattern
from llmops_kit.core.json_values import MAX_DEPTH, check_json


@dataclass(frozen=True)
class SchemaLimits:
    """Maximum numbers in all schemas of a request together, or in one of a dataset's row; error messages name them."""

    characters: int = 32_768
    """Characters of the schemas as JSON."""
    depth: int = MAX_DEPTH
    """Nested objects and lists."""
    subschemas: int = 1_000
    """Schemas within schemas; each property is one."""
    references: int = 500
    """`$ref`."""
    expansion: int = 10_000
    """Keywords, names and values that one value is compared with, once all references are followed."""
    enum_values: int = 1_000
    """Values of `enum` and `const`."""
    enum_characters: int = 16_384
    """Characters of those values as JSON."""
    patterns: int = 64
    """`pattern`."""
    pattern_characters: int = 512
    """Characters of one pattern."""
    pattern_size: int = 10_000
    """Characters of the patterns after each repetition is written out; `\\w`, of all alphabets, counts 50."""


LIMITS = SchemaLimits()

_MAX_TYPES = 7
_NAMES = ("required", "type")
_IN_PLACE = ("else", "if", "not", "then")
_OF_PARTS = ("additionalProperties", "contains", "contentSchema", "items", "propertyNames", "unevaluatedItems",
             "unevaluatedProperties")  # fmt: skip
_IN_PLACE_LISTS = ("allOf", "anyOf", "oneOf")
_IN_PLACE_MAPS = ("dependencies", "dependentSchemas")
_MAPS = ("$defs", "definitions", "properties")

_Path = tuple[Any, str] | None
"""Names from a schema's root, the last one first; they are joined only for an error message."""
_Child = tuple[str, str, Any, bool]
"""Keyword, name below it or "", schema, and whether it applies to the same value as its parent."""


def check_bounds(schema: Any) -> None:
    """Rejects a schema beyond the limits.

    Raises:
        ValueError: naming the part of the schema and the limit.
    """
    SchemaBounds().add(schema)


class SchemaBounds:
    """Counts of several schemas together, checked against the limits."""

    def __init__(self) -> None:
        self._found = {field.name: 0 for field in fields(SchemaLimits)}

    def add(self, schema: Any) -> None:
        """Counts a schema.

        Raises:
            ValueError: naming the part of the schema and the limit that it exceeds; or the schema has a value that
                other JSON parsers read differently, or a reference that leaves it or is circular.
        """
        try:
            text = json.dumps(schema)
            self._count("characters", len(text), None)
            check_json(schema)
        except (DocumentError, RecursionError) as e:
            if path := _too_deep(schema):
                raise _beyond("depth", path) from None
            raise ValueError(e.what if isinstance(e, DocumentError) else str(e)) from None
        self._walk(json.loads(text)).check_expansion()  # a copy without shared parts, which ids then tell apart

    def _walk(self, root: Any) -> "_Graph":
        """Counts every schema within a schema; returns the graph of those that apply to the same value."""
        graph = _Graph()
        pending: list[tuple[Any, _Path]] = [(root, None)]
        while pending:
            node, path = pending.pop()
            self._count("subschemas", 1, path)
            if not isinstance(node, dict):
                continue
            self._count_node(node, path)
            together: list[dict[str, Any]] = []
            for keyword, name, child, same in _children(node):
                below = (path, keyword)
                pending.append((child, (below, name) if name else below))
                together += [child] if same and isinstance(child, dict) else []
            graph.add(node, path, together)
        graph.follow(root)
        return graph

    def _count_node(self, node: dict[str, Any], path: _Path) -> None:
        if isinstance(node.get("$ref"), str):
            self._count("references", 1, (path, "$ref"))
        for keyword in ("const", "enum"):
            if keyword in node:
                values = node[keyword]
                several = keyword == "enum" and isinstance(values, list)
                self._count("enum_values", len(values) if several else 1, (path, keyword))
                self._count("enum_characters", len(json.dumps(values)), (path, keyword))
        if isinstance(pattern := node.get("pattern"), str):
            place = (path, "pattern")
            self._count("patterns", 1, place)
            if len(pattern) > LIMITS.pattern_characters:
                raise _beyond("pattern_characters", place)
            self._count("pattern_size", size_of_pattern(pattern), place)
        _check_names(node, path)

    def _count(self, limit: str, number: int, path: _Path) -> None:
        self._found[limit] += number
        if self._found[limit] > getattr(LIMITS, limit):
            raise _beyond(limit, path)


def parts_of_schema(schema: Any) -> Iterator[Mapping[str, Any]]:
    """Yields a schema and all schemas within it."""
    if isinstance(schema, dict):
        yield schema
        for _, _, child, _ in _children(schema):
            yield from parts_of_schema(child)


def _children(node: Mapping[str, Any]) -> Iterator[_Child]:
    """Yields the values in the place of direct subschemas, valid or not."""
    for keyword, value in node.items():
        if keyword in _IN_PLACE or keyword in _OF_PARTS:
            yield keyword, "", value, keyword in _IN_PLACE
        elif isinstance(value, dict) and (keyword in _MAPS or keyword in _IN_PLACE_MAPS):
            for name, each in value.items():
                yield keyword, name, each, keyword in _IN_PLACE_MAPS
        elif isinstance(value, list) and (keyword in _IN_PLACE_LISTS or keyword == "prefixItems"):
            for index, each in enumerate(value):
                yield keyword, str(index), each, keyword in _IN_PLACE_LISTS


def _check_names(node: Mapping[str, Any], path: _Path) -> None:
    """Rejects lists of names with other values: jsonschema finds duplicates in linear time among strings only."""
    lists = [((path, keyword), node.get(keyword)) for keyword in _NAMES]
    for keyword in ("dependencies", "dependentRequired"):
        if isinstance(names := node.get(keyword), dict):
            lists += [(((path, keyword), name), each) for name, each in names.items()]
    for place, names in lists:
        if isinstance(names, list) and not all(isinstance(name, str) for name in names):
            raise ValueError(f"is not a JSON schema: {_shown(place)}: it is not a list of names")
    if isinstance(types := node.get("type"), list) and len(types) > _MAX_TYPES:
        raise ValueError(f"is not a JSON schema: {_shown((path, 'type'))}: there are {_MAX_TYPES} types")


class _Graph:
    """The schemas within a schema, each with its path and the subschemas that apply to the same value."""

    def __init__(self) -> None:
        self._nodes: dict[int, tuple[dict[str, Any], _Path]] = {}
        self._in_place: dict[int, list[dict[str, Any]]] = {}

    def add(self, node: dict[str, Any], path: _Path, in_place: list[dict[str, Any]]) -> None:
        """Adds a schema."""
        self._nodes[id(node)] = node, path
        self._in_place[id(node)] = in_place

    def follow(self, root: Any) -> None:
        """Adds the targets of references; call it after all schemas were added.

        Raises:
            ValueError: a target is missing, or is not in the place of a schema, where the checks would miss it.
        """
        for key, (node, path) in self._nodes.items():
            if isinstance(ref := node.get("$ref"), str):
                target = _pointed(root, ref)
                if id(target) in self._nodes:
                    self._in_place[key].append(target)
                elif not isinstance(target, bool):
                    raise ValueError(f"{_shown((path, '$ref'))}: the reference {ref!r:.200} leads to no part of it; "
                                     "put the schema below `$defs`")  # fmt: skip

    def check_expansion(self) -> None:
        """Rejects circular references, and schemas that compare one value with too many keywords, names and values."""
        weights: dict[int, int] = {}
        for key, (root, _) in self._nodes.items():
            stack = [] if key in weights else [(root, iter(self._in_place[key]))]
            opened = {key}
            while stack:
                node, rest = stack[-1]
                child = next(rest, None)
                if child is None:
                    stack.pop()
                    opened.discard(id(node))
                    weights[id(node)] = self._weight(node, weights)
                elif id(child) in opened:
                    raise ValueError(f"its references lead in circles at {_shown(self._nodes[id(child)][1]) or '#'}")
                elif id(child) not in weights:
                    opened.add(id(child))
                    stack.append((child, iter(self._in_place[id(child)])))

    def _weight(self, node: dict[str, Any], weights: Mapping[int, int]) -> int:
        own = len(node) + sum(len(value) for value in node.values() if isinstance(value, (dict, list)))
        weight = own + sum(weights[id(each)] for each in self._in_place[id(node)])
        if weight > LIMITS.expansion:
            raise _beyond("expansion", self._nodes[id(node)][1])
        return weight


def _pointed(root: Any, ref: str) -> Any:
    """Returns the target of a JSON pointer; None if it has none, or is not a JSON pointer."""
    names = unquote(ref[1:]).split("/") if ref.startswith("#") else [ref]
    node = root if names[0] == "" else None
    for name in names[1:]:
        name = name.replace("~1", "/").replace("~0", "~")
        if isinstance(node, list):
            node = node[int(name)] if name.isdecimal() and len(name) < 6 and int(name) < len(node) else None
        else:
            node = node.get(name) if isinstance(node, dict) else None
    return node


def _too_deep(value: Any) -> _Path:
    """Returns the path of a part that is nested too deeply; None: there is none."""
    pending: list[tuple[Any, _Path, int]] = [(value, None, 0)]
    while pending:
        node, path, depth = pending.pop()
        if depth > LIMITS.depth:
            return path
        items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        pending += [(each, (path, str(name)), depth + 1) for name, each in items]
    return None


def _beyond(limit: str, path: _Path) -> ValueError:
    shown = _shown(path)
    what = f"exceeds the limit {limit} of {getattr(LIMITS, limit):,}"
    return ValueError(f"{shown}: {what}" if shown else what)


def _shown(path: _Path) -> str:
    names: list[str] = []
    while path:
        path, name = path
        names.append(name[:64])
    text = ".".join(reversed(names))
    return text if len(text) <= 200 else f"{text[:150]}…{text[-49:]}"
