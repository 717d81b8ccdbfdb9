"""Base of the compilers for both generations of clients: compiles each model once, and refers to it by name."""

from abc import ABC, abstractmethod
from types import ModuleType
from typing import Any


class ModelCompiler(ABC):
    """Compiles models into `defs`, with all models that they refer to.

    Args:
        models: the module that contains them.
        prefix: of the definitions' names.
    """

    def __init__(self, models: ModuleType, prefix: str = "") -> None:
        self.defs: dict[str, Any] = {}
        self._models = models
        self._prefix = prefix

    def reference(self, model: Any) -> dict[str, Any]:
        """Returns a reference to a model's definition, which is compiled if missing."""
        name = f"{self._prefix}{model.__name__}"
        if name not in self.defs:
            self.defs[name] = {}  # it may refer to itself
            self.defs[name] = self._definition(model)
        return {"$ref": f"#/$defs/{name}"}

    @abstractmethod
    def _definition(self, model: Any) -> dict[str, Any]:
        """Returns the JSON schema of a model."""
