"""Loads the kit's own dynamic providers, and executes nothing that Pulumi's state says.

Pulumi keeps the provider of a dynamic resource in the state, as a pickle (property `__provider`), and its own
`python -m pulumi.dynamic` loads it by dill: who can write the state runs code as everybody who updates, refreshes or
destroys the stack. The kit's providers are classes without a state, of modules of the package `infra`, so that their
pickle is a reference and nothing else. It is read here as text: a module's name and a class' name. Anything else is
refused and never unpickled.

Standard library only: a copy lies beside the engine.
"""

import base64
import binascii
import importlib
import pickletools
from collections.abc import Callable, Iterator
from typing import Any

PROPERTY = "__provider"
PACKAGE = "infra"
_FRAMING = {"PROTO", "FRAME", "MEMOIZE"}
_NAMES = {"SHORT_BINUNICODE", "BINUNICODE"}
_REFERENCE = ["STACK_GLOBAL", "EMPTY_TUPLE", "NEWOBJ", "STOP"]
WHAT = "somebody changed the stack's state: the provider of this resource would run code that is not the kit's: "
FIX = "find out who can write the state, and put back an earlier version of it (`pulumi stack import`)"
_UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
"""A value that a preview does not know yet (`pulumi.runtime.rpc.UNKNOWN`)."""
_METHODS = ("Check", "Diff", "Create", "Read", "Update", "Delete")
_FIELDS = ("properties", "inputs", "olds", "news", "old_inputs")


def reference(text: str) -> tuple[str, str]:
    """The module and the class that a `__provider` names.

    Raises:
        ValueError: it is not the reference of a class of the package `infra`.
    """
    try:
        ops = [(op.name, value) for op, value, _ in pickletools.genops(base64.b64decode(text, validate=True))]
    except (ValueError, binascii.Error, UnicodeDecodeError) as error:
        raise ValueError("it is no reference of a provider") from error
    ops = [(name, value) for name, value in ops if name not in _FRAMING]
    kinds = [name for name, _ in ops]
    if len(ops) != 6 or not _NAMES.issuperset(kinds[:2]) or kinds[2:] != _REFERENCE:
        raise ValueError("it holds more than the reference of a provider")
    module, name = str(ops[0][1]), str(ops[1][1])
    package, *parts = module.split(".")
    if package != PACKAGE or not all(p.isidentifier() and p[0] != "_" for p in (*parts, name)):
        raise ValueError(f"it names {f'{module}.{name}'[:200]!a}, which is no provider of the package {PACKAGE}")
    return module, name


def load(content: bytes) -> Any:
    """What `dill.loads` is replaced by: a new provider of the class that a pickle names.

    Raises:
        ValueError: as of `reference`, or there is no such class.
    """
    return _load(base64.b64encode(content).decode())


def _load(text: str) -> Any:
    from pulumi.dynamic import ResourceProvider

    module, name = reference(text)
    try:
        found: Any = getattr(importlib.import_module(module), name, None)
    except ModuleNotFoundError:
        found = None
    if not (isinstance(found, type) and issubclass(found, ResourceProvider) and found.__module__ == module):
        raise ValueError(f"it names {module}.{name}, which is no provider of the package {PACKAGE}")
    return found.__new__(found)


def check(deployment: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The resources of an exported state whose providers would be refused: URN, reason."""
    operations = deployment.get("pending_operations") or []
    for resource in [*(deployment.get("resources") or []), *(o["resource"] for o in operations)]:
        for properties in (resource.get("inputs") or {}, resource.get("outputs") or {}):
            if PROPERTY in properties:
                try:
                    value = properties[PROPERTY]
                    reference(value if isinstance(value, str) else "")  # a secret is none of the kit's
                except ValueError as error:
                    yield ascii(resource.get("urn"))[1:-1], str(error)


def install() -> None:
    """Have the SDK's provider server, which this process is about to run, load by `load`."""
    import dill  # pyright: ignore[reportMissingTypeStubs]
    from pulumi.runtime.proto import provider_pb2_grpc as services

    add = services.add_ResourceProviderServicer_to_server

    def add_guarded(servicer: Any, server: Any) -> None:
        for name in _METHODS:
            setattr(servicer, name, _guarded(getattr(servicer, name)))
        add(servicer, server)

    dill.loads = load
    services.add_ResourceProviderServicer_to_server = add_guarded


def _guarded(method: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """The method, which names the resource when its provider is refused."""

    def call(request: Any, context: Any) -> Any:
        import grpc

        for field in _FIELDS:
            properties = getattr(request, field, None)
            if properties is not None and PROPERTY in properties.fields:
                text = properties.fields[PROPERTY].string_value
                try:
                    if text != _UNKNOWN:
                        _load(text)
                except ValueError as error:
                    words = f"{request.urn}: {WHAT}{error}\n  fix: {FIX}"
                    context.abort(grpc.StatusCode.FAILED_PRECONDITION, words)
        return method(request, context)

    return call
