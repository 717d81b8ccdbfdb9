"""Settings of a stack: typed, frozen models, read by both the program and the command line.

Keys, types, defaults and descriptions are declared once more in Pulumi.yaml, for `pulumi config` and its users; a test
keeps the two equal.
"""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from llmops_kit.clouds.aws.settings import AwsSettings
from llmops_kit.clouds.azure.settings import AzureSettings
from llmops_kit.core.document import Part
from llmops_kit.core.engines.engine_settings import EngineSettings
from llmops_kit.core.engines.records import ENGINES, EngineChoice
from llmops_kit.core.errors import KitError
from llmops_kit.core.expiry import Expiry
from llmops_kit.core.limits import AdmissionLimits
from llmops_kit.core.names import ModelRef, Name, parse_promoted
from llmops_kit.core.rollout import WatchedRollout
from llmops_kit.settings.rule_names import RULES
from llmops_kit.settings.signing import SigningSettings

InstanceType = Annotated[str, StringConstraints(pattern=r"^([A-Za-z][A-Za-z0-9_.-]*)?$")]
"""A machine type in its cloud's notation, which the target checks."""
_DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")


def _promoted(text: str) -> str:
    try:
        parse_promoted(text)
    except KitError as e:
        raise ValueError(f"{e.what}; {e.fix}") from None
    return text


def _rule(text: str) -> str:
    if text not in RULES:
        raise ValueError(f"there is no rule {text!r}; rules: {', '.join(RULES)}")
    return text


class Size(Part):
    """Machines of an endpoint, and their autoscaling."""

    instances: int = Field(
        default=1, ge=0, le=64, description="Number of workers, or of instances in a cloud; 0: only with async."
    )
    max_instances: int = Field(
        default=0, ge=0, le=64, description="Above `instances`: autoscaling between the two (cloud)."
    )
    concurrent_requests: int = Field(
        default=4, ge=1, le=1000, description="Autoscaling's target of concurrent requests per instance (cloud)."
    )
    instance_type: InstanceType = Field(
        default="", description="Such as ml.c5.2xlarge or Standard_DS3_v2; empty: the target's default (cloud)."
    )

    @model_validator(mode="after")
    def _in_order(self) -> "Size":
        if self.max_instances and self.max_instances <= self.instances:
            raise ValueError("max_instances must be more than instances, or left out")
        if "concurrent_requests" in self.model_fields_set and not self.max_instances:
            raise ValueError("concurrent_requests has no effect without max_instances; add it")
        return self


class Rollout(WatchedRollout):
    """Rollout of a new model version."""

    strategy: Literal["all_at_once", "canary", "linear", "rolling"] = Field(  # pyright: ignore[reportIncompatibleVariableOverride] (frozen)
        default="all_at_once", description="linear and rolling require a cloud."
    )
    step_percent: int = Field(
        default=25, ge=5, le=50, description="Percentage that each step of linear or rolling adds."
    )
    mirror_percent: int = Field(
        default=0,
        ge=0,
        le=50,
        description="Percentage of requests that are mirrored to the new version first, for one bake (Azure).",
    )

    @model_validator(mode="after")
    def _belongs(self) -> "Rollout":
        belongs = {
            "canary_percent": ("canary",),
            "step_percent": ("linear", "rolling"),
            "extra_bakes": ("canary", "linear"),
            "on_inconclusive": ("canary", "linear"),
        }
        for field in sorted(self.model_fields_set & set(belongs)):
            compares = self.mirror_percent and field in ("extra_bakes", "on_inconclusive")
            if self.strategy not in belongs[field] and not compares:
                which = " or ".join(f"`strategy: {s}`" for s in belongs[field])
                raise ValueError(f"{field} has no effect without {which}; add it")
        return self


class ServerLimits(AdmissionLimits):
    """Limits of an endpoint's servers; the server has defaults for unset ones."""

    api_keys_file: str = Field(
        default="",
        description="File of several API keys with rates and budgets, relative to Pulumi.yaml; reread when it "
        "changes (local).",
    )
    metrics_key_file: str = Field(
        default="", description="File of the key that /metrics takes alone, relative to Pulumi.yaml (local)."
    )
    memory_mb: int = Field(
        default=0,
        ge=0,
        le=1 << 26,
        description="Memory in MiB (PSS, of all its processes) above which a server is replaced; 0: by model and "
        "machine, shown by `llmops plan` (local, runtime process).",
    )


class Endpoint(EngineSettings):
    """Settings of one endpoint: the promoted version, its machines, rollout and limits."""

    model: Annotated[str, AfterValidator(_promoted)] = Field(
        description="Promoted version, name@number@sha256:<64 hex digits>; `llmops promote` writes it."
    )
    endpoint: bool = Field(default=True, description="on; off stops the servers and keeps everything else.")
    size: Size = Size()
    rollout: Rollout = Rollout()
    limits: ServerLimits = ServerLimits()
    mode: Literal["realtime", "async", "serverless"] = Field(
        default="realtime",
        description="async: requests and responses are files, can scale to zero (cloud); serverless: unsupported.",
    )
    engine: EngineChoice = Field(
        default="auto",
        description="auto: vllm on machines with NVIDIA GPUs, else openvino; transformers: local only.",
    )
    port: int = Field(default=0, ge=0, le=65_535, description="0: a free port, chosen once and kept (local).")
    gate: Literal["required", "waived"] = Field(
        default="required", description="waived: serve a version even if it did not pass its evaluation gate."
    )
    volume_gb: int = Field(
        default=0, ge=0, le=512, description="Disk of an instance in GB; 0: the cloud's default (cloud)."
    )
    start_seconds: int = Field(default=600, ge=60, le=3600, description="Seconds until a server must be ready (cloud).")
    download_seconds: int = Field(
        default=600, ge=60, le=3600, description="Timeout of the model's download, in seconds (cloud)."
    )
    inference_ami_version: str = Field(
        default="",
        description="AMI of SageMaker's hosts, for images that need its CUDA; empty: the default of SageMaker (AWS).",
    )

    @model_validator(mode="after")
    def _has_prefixes(self) -> "Endpoint":
        if self.prefix_cache and self.engine != "auto" and not ENGINES[self.engine].keeps_prefixes:
            raise ValueError(f"prefix_cache has no effect with `engine: {self.engine}`; remove it")
        return self

    @property
    def version(self) -> ModelRef:
        """The promoted version in its parts."""
        return parse_promoted(self.model)


class Images(Part):
    """Images of runs and endpoints in a cloud, written by `llmops images push`, or by `build` on a twin."""

    training: str = Field(default="", description="Image of training jobs, by digest.")
    training_tensorflow: str = Field(
        default="", description="Image that trains recipes with `framework: tensorflow`, by digest."
    )
    serving: str = Field(default="", description="Image of endpoints, by digest.")
    serving_vllm: str = Field(default="", description="Image of endpoints on NVIDIA GPUs, by digest.")

    @model_validator(mode="after")
    def _by_digest(self) -> "Images":
        for name, reference in ((n, getattr(self, n)) for n in Images.model_fields):
            if reference and not _DIGEST.search(reference):
                raise ValueError(f"{name}: {reference!r} is not by digest (…@sha256:<64 hex digits>)")
        return self


class Settings(Part):
    """All settings of a stack. Field names are the keys in the stack file, after the project's name and a colon."""

    target: str = Field(default="local", description="Target that the stack deploys to (local, aws or azure).")
    endpoints: dict[Name, Endpoint] = Field(
        default={},
        description="Endpoints by name, each with a model and the settings in docs/reference.md.",
    )
    local_home: str = Field(
        default=".llmops",
        min_length=1,
        description="Folder for all data of local stacks, relative to this file.",
    )
    local_runtime: Literal["process", "docker"] = Field(
        default="process", description="Runtime of local endpoints (process or docker); runs are always processes."
    )
    expires: Expiry = Field(
        default="",
        description="Expiry of the stack (2026-12-31, 2026-12-31T18:00Z), seen by status and `down --orphans` (cloud).",
    )
    images: Images = Field(default=Images(), description="Images of runs and endpoints in a cloud, by digest.")
    signing: SigningSettings = Field(
        default=SigningSettings(), description="Keys that sign model versions; `llmops keys` writes them."
    )
    production: bool = Field(
        default=False,
        description="on: refuse settings that are too weak for production, all at once: no permissions boundary, no "
        "network of its own, public access, no budget, a waived gate (cloud).",
    )
    accepted_rules: dict[Annotated[str, AfterValidator(_rule)], Annotated[str, StringConstraints(min_length=1)]] = (
        Field(
            default={},
            description="Rules that the stack may violate, each with a reason; `llmops plan` lists them (cloud).",
        )
    )
    aws: AwsSettings = Field(default=AwsSettings(), description="Settings of target aws.")
    azure: AzureSettings = Field(default=AzureSettings(), description="Settings of target azure.")

    @model_validator(mode="after")
    def _has_made_its_keys(self) -> "Settings":
        if self.signing.keys > 1 and (self.aws.signing_key_arn or self.azure.signing_key):
            raise ValueError(
                "signing.keys has no effect on an existing key: `llmops keys rotate --to KEY` names another"
            )
        return self
