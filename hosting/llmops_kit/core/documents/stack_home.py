"""The record of the folder that a stack on this machine keeps everything in."""

from typing import ClassVar

from pydantic import Field

from llmops_kit.core.document import Document

HOME_RECORD = "home.json"


class StackHomeDocument(Document):
    """home.json: says whose the folder is. Written when the stack is deployed, never taken from a state."""

    SCHEMA: ClassVar[str] = "stack-home/1"

    project: str = Field(description="Folder of Pulumi.yaml.")
