"""Loads the kit's own dynamic providers, and executes no code from Pulumi's state.

Pulumi keeps the provider of a dynamic resource in the state, as a pickle (property `__provider`), and its own `python
-m pulumi.dynamic` loads it by dill: whoever can write the state runs code as everyone who updates, refreshes or
destroys the stack. The kit's providers are written as a call of `llmops_kit.infra.providers.provider` with a released
name. That is read here as text; anything else is refused and never unpickled.

Standard library only: a copy lies beside the engine.
"""

import base64
import binascii
import importlib
import os
import pickletools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

PROPERTY = "__provider"
MODULE, FUNCTION = "llmops_kit.infra.providers", "provider"
CHANGED = "somebody changed the stack's state: the provider of this resource would run code that is not the kit's: "
TARGET_VARIABLE = "LLMOPS_STACK_TARGET"
"""Set by `llmops`: the target of the stack that an engine updates."""
OTHER_TARGET = "the stack's state holds a resource of another target: "
UNKNOWN_NAME = "this kit does not know the provider of this resource: "
BEFORE = "this state is of a kit from before its first release: "
FIXES = {
    CHANGED: "find out who can write the state, and put back an earlier version of it (`pulumi stack import`)",
    OTHER_TARGET: "if you changed llmops:target, set it back and run `llmops down` first; if not, find out who can "
    "write the state, and put back an earlier version of it (`pulumi stack import`)",
    UNKNOWN_NAME: "install the version of the kit that deployed the stack last, or a newer one",
    BEFORE: "take the stack down with that kit (`llmops down` keeps data, keys and images), forget its state (`pulumi "
    "stack rm --force`), name what was kept in the stack file (docs/how-to/own-resources.md), and deploy it again",
}
"""Beginning of a refusal -> its fix."""
_FRAMING = {"PROTO", "FRAME", "MEMOIZE"}
_TEXTS = {"SHORT_BINUNICODE", "BINUNICODE"}
_CALL = ["STACK_GLOBAL", "TUPLE1", "REDUCE", "STOP"]
_CLASS = ["STACK_GLOBAL", "EMPTY_TUPLE", "NEWOBJ", "STOP"]
"""Of kits before the first release: a class of the package `infra`; the last ones had `_OLD_CALL` instead."""
_NAME = re.compile(r"[a-z]+/[a-z-]+")
_OLD_CALL = ("infra.providers", "provider")
_STACK = re.compile(r"[\w.-]+")
_OLD_MODULE = re.compile(r"infra\.targets(\.[a-z_]+)+")
_UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
"""A value that a preview does not know yet (`pulumi.runtime.rpc.UNKNOWN`)."""
_METHODS = ("Check", "Diff", "Create", "Read", "Update", "Delete")
_FIELDS = ("properties", "inputs", "olds", "news", "old_inputs")


class RefusedProviderError(ValueError):
    """A provider in a state that is not loaded; its text begins with a key of `FIXES`."""

    def __init__(self, why: str, what: str) -> None:
        super().__init__(why + what)
        self.fix = FIXES[why]


def released_name(text: str) -> str:
    """Returns the provider's name in a `__provider`.

    Raises:
        RefusedProviderError: it is anything else, or no release of the kit up to this one has the name.
    """
    try:
        ops = [(op.name, value) for op, value, _ in pickletools.genops(base64.b64decode(text, validate=True))]
    except (ValueError, binascii.Error, UnicodeDecodeError) as error:
        raise RefusedProviderError(CHANGED, "it is not a reference of a provider") from error
    ops = [(name, value) for name, value in ops if name not in _FRAMING]
    kinds = [name for name, _ in ops]
    texts = [str(value) for name, value in ops if name in _TEXTS]
    if len(texts) == 2 and kinds[2:] == _CLASS and _OLD_MODULE.fullmatch(texts[0]):
        raise RefusedProviderError(BEFORE, f"it names {'.'.join(texts)}"[:200])
    if len(texts) != 3 or [kind for kind in kinds if kind not in _TEXTS] != _CALL or kinds[2] != _CALL[0]:
        raise RefusedProviderError(CHANGED, "it holds more than the name of a provider")
    module, function, name = texts
    if (module, function) == _OLD_CALL:
        raise RefusedProviderError(BEFORE, f"it names {name}"[:200])
    if (module, function) != (MODULE, FUNCTION) or not _NAME.fullmatch(name):
        what = f"it names {f'{module}.{function}({name})'[:200]!a}, which is not a provider of the kit"
        raise RefusedProviderError(CHANGED, what)
    if name not in importlib.import_module(MODULE).RELEASED:
        raise RefusedProviderError(UNKNOWN_NAME, f"it is named {name[:200]}")
    return name


def require_target(name: str, target: str) -> None:
    """Refuses providers of one target in a stack of another one: they would act on this machine, or in an account,
    that the stack has nothing to do with.

    Args:
        name: of the provider, released.
        target: of the stack; empty: unknown, as for a program of the user's own components.

    Raises:
        RefusedProviderError: they differ.
    """
    if target and name.partition("/")[0] != target:
        raise RefusedProviderError(OTHER_TARGET, f"its provider is {name}, and the stack's target is {target}")


def target_of(urn: str) -> str:
    """Returns the target of a resource's stack: the one that `llmops` names, else that of the stack file; empty if none
    says one.

    Args:
        urn: of the resource. Plain `pulumi` names the stack in nothing else, and takes URNs from the state unchecked.
    """
    if told := os.environ.get(TARGET_VARIABLE):
        return told
    import yaml  # of Pulumi's SDK

    stack = urn.split(":")[2] if urn.startswith("urn:pulumi:") else ""
    folders = (Path.cwd(), *Path.cwd().parents)
    project = next((folder for folder in folders if (folder / "Pulumi.yaml").is_file()), None)
    if project is None or not _STACK.fullmatch(stack):
        return ""
    try:
        name = yaml.safe_load((project / "Pulumi.yaml").read_text())["name"]
        settings = yaml.safe_load((project / f"Pulumi.{stack}.yaml").read_text())["config"]
        return str(settings.get(f"{name}:target", ""))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError):
        return ""


def load(content: bytes) -> Any:
    """Replaces `dill.loads`: returns a new provider of the name in a pickle.

    Raises:
        RefusedProviderError: as of `released_name`.
    """
    return importlib.import_module(MODULE).provider(released_name(base64.b64encode(content).decode()))


def check(deployment: dict[str, Any], target: str = "") -> Iterator[tuple[str, RefusedProviderError]]:
    """Yields the resources of an exported state whose providers would be refused: URN, reason.

    Args:
        deployment: the state.
        target: of the stack; empty: unknown.
    """
    operations = deployment.get("pending_operations") or []
    for resource in [*(deployment.get("resources") or []), *(o["resource"] for o in operations)]:
        for properties in (resource.get("inputs") or {}, resource.get("outputs") or {}):
            if PROPERTY in properties:
                try:
                    value = properties[PROPERTY]
                    name = released_name(value if isinstance(value, str) else "")  # a secret is none of the kit's
                    require_target(name, target)
                except RefusedProviderError as error:
                    yield ascii(resource.get("urn"))[1:-1], error


def install(guard: Callable[[Any, type], None]) -> None:
    """Makes the SDK's provider server, which this process will run, load providers with `load`."""
    import dill  # pyright: ignore[reportMissingTypeStubs]
    from pulumi.runtime.proto import provider_pb2_grpc as services

    add = services.add_ResourceProviderServicer_to_server

    def add_guarded(servicer: Any, server: Any) -> None:
        for name in _METHODS:
            setattr(servicer, name, _guarded(getattr(servicer, name)))
        guard(servicer, services.ResourceProviderServicer)
        add(servicer, server)

    dill.loads = load
    services.add_ResourceProviderServicer_to_server = add_guarded


def _guarded(method: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Wraps a method so that its error names the resource whose provider is refused."""

    def call(request: Any, context: Any) -> Any:
        import grpc

        for field in _FIELDS:
            properties = getattr(request, field, None)
            if properties is not None and PROPERTY in properties.fields:
                text = properties.fields[PROPERTY].string_value
                try:
                    if text != _UNKNOWN:
                        require_target(released_name(text), target_of(request.urn))
                except RefusedProviderError as error:
                    words = f"{request.urn}: {error}\n  fix: {error.fix}"
                    context.abort(grpc.StatusCode.FAILED_PRECONDITION, words)
        return method(request, context)

    return call
