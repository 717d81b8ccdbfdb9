"""Documents that a store holds beside its versions."""

from typing import ClassVar

from contract.documents import Document
from contract.names import Name, Sha256


class StoreDocument(Document):
    """store.json: says that a folder or bucket is a store, and whose."""

    SCHEMA: ClassVar[str] = "store/1"

    stack: str


class Alias(Document):
    """Gives a model version its alias in a store; written once, never changed."""

    SCHEMA: ClassVar[str] = "alias/1"

    name: Name
    number: int
    sha256: Sha256
    created: str
