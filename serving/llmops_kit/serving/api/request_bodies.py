"""Shared by the models of all request bodies, whose JSON schemas are part of /openapi.json."""

from dataclasses import dataclass
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema, PydanticCustomError, core_schema


class StrictBody(BaseModel):
    """Rejects unknown fields, naming the first. Pydantic's `forbid` creates an error for each: 20,000 take 0.1 s."""

    model_config = ConfigDict(extra="allow", strict=True, json_schema_extra={"additionalProperties": False})

    @model_validator(mode="after")
    def _no_others(self) -> Self:
        if self.model_extra:
            raise PydanticCustomError("unknown", "it is not known", {"name": next(iter(self.model_extra))})
        return self


@dataclass(frozen=True)
class Only:
    """Marks a field that would change the answer and is not supported: accepts only null and values that mean the same
    as its absence.
    """

    accepted: tuple[Any, ...] = ()

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self._check)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"enum": [None, *self.accepted]}

    def _check(self, value: Any) -> Any:
        if value is not None and not any(type(value) is type(v) and value == v for v in self.accepted):
            raise PydanticCustomError("unsupported", "this server does not support it with this value")
        return value
