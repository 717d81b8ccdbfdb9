"""A request to a storage account, and its refusal."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from werkzeug.datastructures import Headers


class BlobError(Exception):
    """A refusal in the storage services' own form."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})


@dataclass(frozen=True)
class BlobRequest:
    """A request to an account. `body` is bytes or an iterator of them."""

    method: str
    container: str
    blob: str
    query: Mapping[str, str]
    headers: Headers
    body: Any
    length: int | None

    @property
    def path(self) -> str:
        """The path below the account: `container/blob`, or the container alone."""
        return f"{self.container}/{self.blob}" if self.blob else self.container


def pairs(query: str) -> list[tuple[str, str]]:
    """Returns names and values of a query."""
    return parse_qsl(query, keep_blank_values=True)
