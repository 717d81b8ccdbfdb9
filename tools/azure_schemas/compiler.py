"""What compilers of both generations of clients share: each model is compiled once, and referred to by its name."""

from abc import ABC, abstractmethod
from types import ModuleType
from typing import Any


class ModelCompiler(ABC):
    """Compiles models into `defs`, with all that they refer to.

    Args:
        models: the module that has them.
        prefix: of the definitions' names.
    """

    def __init__(self, models: ModuleType, prefix: str = "") -> None:
        self.defs: dict[str, Any] = {}
        self._models = models
        self._prefix = prefix

    def reference(self, model: Any) -> dict[str, Any]:
        """A reference to a model's definition, which is compiled if it is not yet."""
        name = f"{self._prefix}{model.__name__}"
        if name not in self.defs:
            self.defs[name] = {}  # it may refer to itself
            self.defs[name] = self._definition(model)
        return {"$ref": f"#/$defs/{name}"}

    @abstractmethod
    def _definition(self, model: Any) -> dict[str, Any]:
        """Its JSON schema."""
