"""StackOutputs: the outputs of a deployed stack, from which a Platform is created."""

from typing import ClassVar, Literal

from pydantic import Field

from llmops_kit.core.document import Document, Part
from llmops_kit.core.documents.run import Compute
from llmops_kit.core.names import Name, Sha256

_PUBLIC_KEY = "-----BEGIN PUBLIC KEY-----"


class StoreOutput(Part):
    """Store of the stack's dataset and model versions."""

    url: str = Field(description="file:///…, later s3://… or https://….")


class SigningOutput(Part):
    """The key that signs model versions. `private_key` is a reference (a path, a KMS ARN), never the key."""

    private_key: str
    public_key: str = Field(description="PEM; several one after another, the one that signs first.")

    @property
    def signs(self) -> str:
        """The public key of the key that signs, in PEM."""
        head, begin, tail = self.public_key.partition(_PUBLIC_KEY)
        return head + begin + tail.partition(_PUBLIC_KEY)[0]


class TrainingOutput(Part):
    """Platform that executes runs."""

    image: str
    tensorflow_image: str = Field(default="", description="By digest; empty: none, or processes of this machine.")
    runs: str = Field(description="Folder or URL of the runs.")


class EndpointOutput(Part):
    """A deployed endpoint: its address, and the version that it serves."""

    url: str = Field(description="Base URL; empty while the endpoint is off.")
    model: str = Field(description="name@number@sha256:… that was asked for.")
    sha256: Sha256
    image: str
    key: str = Field(default="", description="Reference to the API key (a path), never the key.")
    on: bool = True
    mode: Literal["realtime", "async"] = "realtime"


class AwsOutput(Part):
    """Account, region and resource names of a stack of target aws."""

    account: str
    region: str
    partition: str = "aws"
    profile: str = Field(default="", description="Of ~/.aws/config, where the stack file names one.")
    twin: bool = Field(default=False, description="On a twin, not on AWS.")
    kms_key: str = Field(default="", description="ARN of the key that encrypts the stack's data.")
    roles: dict[str, str] = Field(default={}, description="training, endpoint, scheduler -> ARN.")
    repositories: dict[str, str] = Field(default={}, description="training, serving -> URL in the registry.")
    network: dict[str, list[str]] = Field(default={}, description="subnets, security_groups -> ids; empty: none.")
    model_package_group: str = ""
    endpoints: dict[Name, str] = Field(default={}, description="Endpoint -> its name on SageMaker.")
    work_bucket: str = ""
    alarms_topic: str = ""
    audit_bucket: str = Field(default="", description="Of the trail's files; empty: the stack has no trail.")
    jobs: Compute = Field(default=Compute(), description="Default compute of runs.")
    job_prefix: str = Field(default="", description="Prefix of the names of the stack's training jobs.")
    tags: dict[str, str] = Field(default={}, description="Put on the stack's training jobs.")
    serving_image: str = Field(default="", description="Image of model packages, by digest.")


class AzureCompute(Part):
    """A cluster of the stack for runs; it scales to zero."""

    vm_size: str
    spot: bool = Field(default=False, description="Low-priority machines, which Azure may take back.")
    max_nodes: int = 1


class AzureOutput(Part):
    """Subscription, location and resource names of a stack of target azure."""

    subscription: str
    tenant: str
    location: str
    resource_group: str
    workspace: str = Field(description="Name of the Azure Machine Learning workspace.")
    twin: bool = Field(default=False, description="On a twin, not on Azure.")
    storage_account: str = ""
    blob_url: str = Field(default="", description="https://<account>.blob.core.windows.net, or the twin's.")
    store_container: str = Field(default="", description="Of versions.")
    work_container: str = Field(default="", description="Of runs.")
    datastores: dict[str, str] = Field(default={}, description="store, work -> name of the workspace's datastore.")
    vault_url: str = Field(default="", description="https://<vault>.vault.azure.net, or the twin's.")
    registry: str = Field(default="", description="Login server of the container registry.")
    repositories: dict[str, str] = Field(default={}, description="training, serving -> name with the login server.")
    identities: dict[str, str] = Field(default={}, description="training, endpoint -> resource id.")
    client_ids: dict[str, str] = Field(default={}, description="training, endpoint -> client id.")
    computes: dict[Name, AzureCompute] = Field(default={}, description="Clusters by name.")
    environments: dict[str, str] = Field(default={}, description="training -> id of the environment version.")
    endpoints: dict[Name, str] = Field(default={}, description="Endpoint -> its name on Azure ML.")
    logs: str = Field(default="", description="Resource id of the Log Analytics workspace.")
    audit_account: str = Field(default="", description="Resource id of the account of audit logs' copies.")
    metrics: str = Field(default="", description="Resource id of the Application Insights component.")
    jobs: Compute = Field(default=Compute(), description="Default compute of runs.")
    job_prefix: str = Field(default="", description="Prefix of the names of the stack's jobs.")
    tags: dict[str, str] = Field(default={}, description="Put on the stack's jobs.")
    serving_image: str = Field(default="", description="By digest.")


class StackOutputs(Document):
    """All outputs of a stack, exported by infra/__main__.py."""

    SCHEMA: ClassVar[str] = "stack-outputs/1"

    target: str
    stack: str
    project: str = Field(description="Folder of the Pulumi project on the machine that deployed, for `local`.")
    expires: str = Field(default="", description="Expiry of the stack, as 2026-12-31T18:00:00Z; empty: never.")
    store: StoreOutput
    signing: SigningOutput
    training: TrainingOutput
    hosting: str = Field(default="", description="Folder of the local runtime's state, for `local`.")
    endpoints: dict[Name, EndpointOutput] = Field(default={})
    aws: AwsOutput | None = Field(default=None, description="For `aws`.")
    azure: AzureOutput | None = Field(default=None, description="For `azure`.")
