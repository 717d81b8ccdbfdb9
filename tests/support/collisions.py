"""Names that a class of ours shares with the library class that it extends: one of them overwrites the other.

Our classes are read as text; their library bases are imported, as a library may make its classes in any way.
"""

import ast
import importlib
import inspect
import typing
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from tests.support.checkout import CHECKOUT, PACKAGES

_STANDS_FOR = {typing.NamedTuple: tuple, typing.TypedDict: object}
_EVERYWHERE = {object, Protocol, typing.Generic}
_METHOD, _ASSIGNED, _OTHER = "a method", "assigned on self", "an attribute"


class _OwnClass(NamedTuple):
    """A class of ours, and the module that its names are looked up in."""

    module: str
    node: ast.ClassDef


class Rooms:
    """The modules of some packages of ours."""

    def __init__(self, *rooms: str, root: Path | None = None) -> None:
        self._folders = {room: root / room if root else PACKAGES.get(room, CHECKOUT / room) for room in rooms}
        self._modules: dict[str, ast.Module] = {}

    def modules(self) -> set[str]:
        """Returns the modules that define classes, without tests."""
        found = [
            (room, *path.relative_to(folder).with_suffix("").parts)
            for room, folder in self._folders.items()
            for path in folder.rglob("*.py")
            if b"class " in path.read_bytes()
        ]
        return {".".join(parts).removesuffix(".__init__") for parts in found if "tests" not in parts}

    def collisions(self, modules: Iterable[str]) -> dict[str, str]:
        """Returns each name that a class of ours shares with a library base, as `module.Class.name`, and what it is in
        both.

        Not returned are public methods of the base that ours overrides with a signature that takes the base's calls,
        public class attributes of the base to which ours gives another value, and names with two underscores in front.

        Args:
            modules: of ours; the library bases of their classes must be installed.
        """
        found: dict[str, str] = {}
        for module in sorted(modules):
            for node in ast.walk(self._tree(module)):
                if isinstance(node, ast.ClassDef) and node.bases:
                    found |= self._shared(_OwnClass(module, node))
        return found

    def _tree(self, module: str) -> ast.Module:
        if module not in self._modules:
            path = self._path(module)
            path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
            self._modules[module] = ast.parse(path.read_text())
        return self._modules[module]

    def _is_ours(self, name: str) -> bool:
        return any(f"{name}.".startswith(f"{room}.") or room.startswith(f"{name}.") for room in self._folders)

    def _path(self, module: str) -> Path:
        """Returns the path of a module or package of ours, without the suffix of a module; of one above, nothing's."""
        for room, folder in self._folders.items():
            if f"{module}.".startswith(f"{room}."):
                return folder.joinpath(*filter(None, module.removeprefix(room).split(".")))
        return CHECKOUT / "no-such"

    def _shared(self, own: _OwnClass) -> dict[str, str]:
        family = [own, *self._bases(own)]
        theirs = names_of_libraries([_STANDS_FOR.get(base, base) for base in family if not isinstance(base, _OwnClass)])
        return {
            f"{each.module}.{each.node.name}.{name}": f"{_said(ours)}; in the base {_said(theirs[name])}"
            for each in family
            if isinstance(each, _OwnClass)  # one that extends nothing is mixed with a library's class here
            for name, ours in names_of_ours(each.node).items()
            if name in theirs and not name.startswith("__") and not _is_override(name, ours, theirs[name])
        }

    def _bases(self, own: _OwnClass) -> Iterator[Any]:
        """Yields all classes that a class of ours extends, directly or not: ours, and the first ones of libraries."""
        for expression in own.node.bases:
            base = self._resolved(own.module, expression)
            yield base
            if isinstance(base, _OwnClass):
                yield from self._bases(base)

    def _resolved(self, module: str, expression: ast.expr) -> Any:
        """Returns what a name in a module of ours stands for: a class of ours, or a library's, or a module."""
        match expression:
            case ast.Subscript(value=value):
                return self._resolved(module, value)
            case ast.Attribute(value=value, attr=attribute):
                return self._member(self._resolved(module, value), attribute)
            case ast.Name(id=name):
                return self._named(module, name)
        raise TypeError(f"{module}: {ast.unparse(expression)} is not a name of a base class")

    def _named(self, module: str, name: str) -> Any:
        for node in ast.walk(self._tree(module)):
            if isinstance(node, ast.ClassDef) and node.name == name:
                return _OwnClass(module, node)
            if isinstance(node, ast.Import | ast.ImportFrom):
                for alias in node.names:
                    if (alias.asname or alias.name.partition(".")[0]) == name:
                        return self._imported(node, alias)
        return getattr(importlib.import_module("builtins"), name)

    def _imported(self, node: ast.Import | ast.ImportFrom, alias: ast.alias) -> Any:
        if isinstance(node, ast.ImportFrom):
            return self._member(self._module(str(node.module)), alias.name)
        self._module(alias.name)
        return self._module(alias.name if alias.asname else alias.name.partition(".")[0])

    def _module(self, name: str) -> Any:
        return name if self._is_ours(name) else importlib.import_module(name)

    def _member(self, parent: Any, name: str) -> Any:
        if not isinstance(parent, str):  # a library's module
            return getattr(parent, name, None) or importlib.import_module(f"{parent.__name__}.{name}")
        path = self._path(f"{parent}.{name}")
        if path.is_dir() or path.with_suffix(".py").exists():
            return f"{parent}.{name}"
        return self._named(parent, name)


def names_of_ours(node: ast.ClassDef) -> dict[str, Any]:
    """Returns the names that a class defines, declares, or assigns on self, and what each is: a method's node, or what
    to call it.
    """
    return dict(_assigned_in(node)) | dict(_defined_in(node))


def names_of_libraries(bases: list[type]) -> dict[str, Any]:
    """Returns the names that library classes and their bases define or assign on self, and what each is: the method, or
    what to call it.
    """
    kinds = [kind for base in bases for kind in base.__mro__ if kind not in _EVERYWHERE]
    defined = {name: _defined(value) for kind in reversed(kinds) for name, value in vars(kind).items()}
    return defined | {name: _ASSIGNED for kind in kinds for name in _assigned_by(kind)}


def _defined(value: Any) -> Any:
    function = getattr(value, "__func__", value)
    return function if inspect.isroutine(function) else _OTHER


@cache
def _assigned_by(kind: type) -> frozenset[str]:
    """Returns the names that the methods and properties of a library's class itself assign on self."""
    accessors = ("__func__", "fget", "fset", "fdel", "func")
    parts = [each for value in vars(kind).values() for each in (value, *(getattr(value, a, None) for a in accessors))]
    functions = [inspect.unwrap(each) for each in parts if inspect.isfunction(each)]
    nodes = [_functions_in(each.__code__.co_filename).get(_place(each)) for each in functions]
    return frozenset(name for node in nodes if node for name in _on_self(node))


def _is_override(name: str, ours: Any, theirs: Any) -> bool:
    """Returns whether a name is the base's public one, used as it is meant to be."""
    if name.startswith("_"):
        return False
    if isinstance(ours, ast.FunctionDef | ast.AsyncFunctionDef):
        return callable(theirs) and _takes_calls(ours.args, theirs)
    return ours == theirs == _OTHER


def _takes_calls(ours: ast.arguments, theirs: Any) -> bool:
    """Returns whether a method takes the arguments that are passed to one of a library."""
    try:
        parameters = list(inspect.signature(theirs).parameters.values())
    except ValueError:  # of a builtin without a signature
        return True
    several = {p.kind for p in parameters}
    places = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    least = sum(p.default is p.empty for p in places)
    taken = [*ours.posonlyargs, *ours.args]
    needed = {a.arg for a, value in zip(ours.kwonlyargs, ours.kw_defaults, strict=True) if value is None}
    return (
        (len(places) <= len(taken) or ours.vararg is not None)
        and (inspect.Parameter.VAR_POSITIONAL in several or len(taken) - len(ours.defaults) <= least)
        and needed <= {p.name for p in parameters}
    )


def _said(name: Any) -> str:
    return name if isinstance(name, str) else _METHOD


def _defined_in(node: ast.ClassDef) -> Iterator[tuple[str, Any]]:
    for each in node.body:
        match each:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                plain = not any("property" in ast.unparse(decorator) for decorator in each.decorator_list)
                yield each.name, each if plain else _OTHER
            case ast.Assign(targets=targets):
                yield from ((name.id, _OTHER) for target in targets for name in ast.walk(target) if _is_name(name))
            case ast.AnnAssign(target=ast.Name(id=name), value=value):
                yield name, _OTHER if value else "declared"


def _is_name(node: ast.AST) -> typing.TypeGuard[ast.Name]:
    return isinstance(node, ast.Name)


def _assigned_in(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for each in node.body:
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from ((name, _ASSIGNED) for name in _on_self(each))


def _on_self(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    """Yields the names that a method assigns on its first argument."""
    arguments = [*function.args.posonlyargs, *function.args.args]
    for node in ast.walk(function) if arguments else ():
        match node:
            case ast.Attribute(value=ast.Name(id=name), attr=attribute, ctx=ast.Store()) if name == arguments[0].arg:
                yield attribute
            case ast.Call(
                func=ast.Name(id="setattr"), args=[ast.Name(id=name), ast.Constant(value=str() as attribute), _]
            ) if name == arguments[0].arg:
                yield attribute


def _place(function: Any) -> tuple[str, int]:
    return function.__code__.co_name, function.__code__.co_firstlineno


@cache
def _functions_in(path: str) -> Mapping[tuple[str, int], ast.FunctionDef | ast.AsyncFunctionDef]:
    """Returns the functions of a library's file by name and first line, which is that of the first decorator."""
    try:
        tree = ast.parse(Path(path).read_bytes())
    except (OSError, SyntaxError, ValueError):  # made by a program, or without source
        return {}
    return {
        (node.name, min([node.lineno, *(each.lineno for each in node.decorator_list)])): node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
