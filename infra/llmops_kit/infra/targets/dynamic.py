"""Base of the dynamic providers of every target.

The engine starts them in a separate process, which creates each from its released name (llmops_kit.infra.providers).
Modules that only create, update or delete need are imported there.
"""

import sys
import traceback
from types import SimpleNamespace
from typing import Any

from pulumi import dynamic

from llmops_kit.core.errors import KitError
from llmops_kit.infra.providers import name_of, provider

Properties = dict[str, Any]
_PROVIDER = "__provider"


class KitProvider(dynamic.ResourceProvider):
    """A provider whose resources are updated in place when an input differs from what was recorded."""

    serialize_as_secret_always = False

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        """Writes the released name into the state, and nothing of the class."""
        return provider, (name_of(type(self)),)

    def configure(self, req: dynamic.ConfigureRequest) -> None:
        """Prepares the provider's process; Pulumi calls this once."""
        del req  # the stack's configuration: resources have the values that they need as properties
        _show_mistakes_without_traceback()

    def diff(self, _id: str, _olds: Properties, _news: Properties) -> dynamic.DiffResult:
        """Compare inputs; what `refresh` found different is in the old ones. Nothing is ever replaced."""
        return dynamic.DiffResult(changes=differ(_olds, _news))


def differ(olds: Properties, news: Properties) -> bool:
    """Return whether an input differs from the recorded one."""
    return any(olds.get(k) != v for k, v in news.items() if k != _PROVIDER)


def inputs_of(props: Properties) -> Properties:
    """Return the properties without the SDK's own."""
    return {k: v for k, v in props.items() if k != _PROVIDER}


def gone() -> dynamic.ReadResult:
    """Return the result of `read` for a missing resource: the engine forgets it, and the next update creates it."""
    return dynamic.ReadResult("", {})


def say(line: str) -> None:
    """Print progress; the engine shows the output of dynamic providers."""
    print(line, flush=True)


def _show_mistakes_without_traceback() -> None:
    """Makes the SDK send a KitError's own text instead of a traceback, which it sends for every error of a provider."""
    server = sys.modules["__main__"]
    if getattr(server, "__spec__", None) and hasattr(server, "DynamicResourceProviderServicer"):
        server.traceback = SimpleNamespace(format_exc=_format_current)  # type: ignore[attr-defined]


def _format_current() -> str:
    error = sys.exception()
    return str(error) if isinstance(error, KitError) else traceback.format_exc()
