"""Limits of a server on requests: defaults and bounds, for the server and for the stack that sets them."""

from collections.abc import Mapping

from pydantic import Field

from llmops_kit.core.document import Part
from llmops_kit.core.network.connections import ConnectionLimits
from llmops_kit.core.validation import bounds_of

API_KEYS_FILE, METRICS_KEY_FILE = "LLMOPS_API_KEYS_FILE", "LLMOPS_METRICS_KEY_FILE"
"""Variables of a server that name files of keys."""
PLATFORM_SECONDS: Mapping[str, float] = {"sagemaker": 55.0, "azureml": 170.0}
"""Platform -> default of `request_seconds`: below the platform's timeout (SageMaker 60 s, Azure ML 180 s), so that the
caller gets the server's error.
https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html
"""
PLATFORM_STREAM_SECONDS: Mapping[str, float] = {"sagemaker": 470.0}
"""Platform -> default of `stream_seconds`: SageMaker's timeout for streams is 8 minutes."""


class AdmissionLimits(Part):
    """Limits of a server on size, number and time of requests, which a stack can set. Each field is a variable."""

    max_body: int = Field(
        default=6_291_456,
        ge=1024,
        le=1 << 30,
        description="Maximum bytes of a request's body; the default is SageMaker's.",
    )
    max_running: int = Field(default=32, ge=1, le=256, description="Maximum requests in the engine's batch.")
    max_queue: int = Field(
        default=64, ge=0, le=100_000, description="Maximum requests that wait for a place in the batch; more get a 429."
    )
    max_queue_tokens: int = Field(
        default=262_144,
        ge=0,
        le=1_000_000_000,
        description="Maximum tokens of waiting prompts, estimated at 4 bytes of a body each; more get a 429.",
    )
    request_seconds: float = Field(
        default=300.0,
        ge=0.1,
        le=86_400,
        description="Seconds from a request's headers to the end of its answer, or to the beginning of a stream; "
        "by default 55 on SageMaker and 170 on Azure ML.",
    )
    stream_seconds: float = Field(
        default=300.0,
        ge=0.1,
        le=86_400,
        description="Seconds from a request's headers to the end of a stream; by default 470 on SageMaker, elsewhere "
        "as `request_seconds`.",
    )


class RequestLimits(AdmissionLimits):
    """All limits of a server on requests. A stack can't set those on clients, which connect to a router or platform."""

    read_seconds: float = Field(
        default=10.0, ge=0.1, le=600, description="Seconds for a request's headers, and again for its body."
    )
    write_seconds: float = Field(
        default=ConnectionLimits.write_seconds,
        ge=0.1,
        le=600,
        description="Seconds for a client that stopped reading its answer.",
    )
    max_connections: int = Field(
        default=ConnectionLimits.connections, ge=1, le=100_000, description="Open connections; more get a 503."
    )
    max_connections_per_address: int = Field(
        default=ConnectionLimits.connections_per_address,
        ge=1,
        le=100_000,
        description="Open connections of one address; more get a 429.",
    )


def limit_variable(field: str) -> str:
    """Returns the server's variable of a field of RequestLimits."""
    return f"LLMOPS_{field.upper()}"


def limit_variables(limits: AdmissionLimits) -> dict[str, str]:
    """Returns the server's variables for the limits that were set, defaults or not."""
    names = [name for name in AdmissionLimits.model_fields if name in limits.model_fields_set]
    return {limit_variable(name): f"{getattr(limits, name)}".removesuffix(".0") for name in names}


def limit_bounds(field: str) -> tuple[float, float]:
    """Returns the least and the greatest value of a field of RequestLimits."""
    low, high = bounds_of(RequestLimits, (field,))
    assert low is not None
    assert high is not None
    return low, high
