"""Documents that a store holds beside its versions."""

from typing import ClassVar

from pydantic import Field

from llmops_kit.core.document import Document
from llmops_kit.core.names import Name, Sha256


class StoreDocument(Document):
    """store.json: marks a folder or bucket as the store of a stack."""

    SCHEMA: ClassVar[str] = "store/1"

    stack: str
    project: str = Field(default="", description="Folder of the Pulumi project, for a store on this machine.")


class Alias(Document):
    """Gives a model version its alias in a store; written once, never changed."""

    SCHEMA: ClassVar[str] = "alias/1"

    name: Name
    number: int
    sha256: Sha256
    created: str
