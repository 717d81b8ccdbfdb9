"""StackOutputs: what a deployed stack says of itself; the one thing that a Platform is made from."""

from typing import ClassVar, Literal

from pydantic import Field

from contract.documents import Document, Part
from contract.names import Name, Sha256


class StoreOutput(Part):
    """The stack's store."""

    url: str = Field(description="file:///…, later s3://… or https://….")


class SigningOutput(Part):
    """The key that signs model versions. `private_key` is a reference (a path, a KMS ARN), never the key."""

    private_key: str
    public_key: str = Field(description="PEM.")


class TrainingOutput(Part):
    """Where runs execute."""

    image: str
    runs: str = Field(description="Folder or URL of the runs.")


class EndpointOutput(Part):
    """One endpoint."""

    url: str = Field(description="Base URL; empty while the endpoint is off.")
    model: str = Field(description="name@number@sha256:… that was asked for.")
    sha256: Sha256
    image: str
    key: str = Field(default="", description="Reference to the API key (a path), never the key.")
    on: bool = True


class StackOutputs(Document):
    """All outputs of a stack, exported by infra/__main__.py."""

    SCHEMA: ClassVar[str] = "stack-outputs/1"

    target: Literal["local", "aws", "azure"]
    stack: str
    project: str = Field(description="Folder of the Pulumi project on the machine that deployed, for `local`.")
    store: StoreOutput
    signing: SigningOutput
    training: TrainingOutput
    hosting: str = Field(default="", description="Folder of hosting's state, for `local`.")
    endpoints: dict[Name, EndpointOutput] = Field(default={})
