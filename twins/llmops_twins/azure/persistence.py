"""Saves a twin's state in its folder: each resource, and each of the twin's other documents, as JSON."""

import json
import marshal
from collections.abc import Mapping

from llmops_twins.azure.twin import TenantTwin
from llmops_twins.core.persistence import Keeper

_SCHEMA = "twin-state-azure/3"
_RESOURCES = "resources"


class StateKeeper(Keeper):
    """Saves the state of a twin soon after each change, and loads it."""

    def __init__(self, twin: TenantTwin) -> None:
        super().__init__(twin, {"schema": _SCHEMA}, "twins azure reset")
        self._twin = twin
        self._copies: dict[str, bytes] = {}
        self._texts: dict[str, bytes] = {}

    def _copied(self) -> dict[str, bytes]:
        documents = {name: document for name, document in self._twin.state.items() if name != _RESOURCES}
        resources = {f"{_RESOURCES}{path}": document for path, document in self._twin.resources.items()}
        # The fastest copy; version 2 writes equal values as equal bytes, however often they are referenced.
        return {name: marshal.dumps(value, 2) for name, value in (documents | resources).items()}

    def _encoded(self, copies: dict[str, bytes]) -> Mapping[str, bytes]:
        texts = {
            name: self._texts[name] if self._copies.get(name) == copy else json.dumps(marshal.loads(copy)).encode()
            for name, copy in copies.items()
        }
        self._copies, self._texts = copies, texts
        return texts

    def _take(self, parts: Mapping[str, bytes]) -> None:
        for name, text in parts.items():
            if name.startswith(f"{_RESOURCES}/"):
                self._twin.resources[name.removeprefix(_RESOURCES)] = json.loads(text)
            else:
                self._twin.state[name] = json.loads(text)
