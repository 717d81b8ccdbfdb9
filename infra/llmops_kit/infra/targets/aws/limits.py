"""Refuses settings that SageMaker can't honour, before anything is declared."""

from collections.abc import Iterator

from llmops_kit.clouds.aws.job_requests import INSTANCE_TYPE, has_local_disks
from llmops_kit.core.limits import PLATFORM_SECONDS, PLATFORM_STREAM_SECONDS
from llmops_kit.infra.server_limits import refused_limits
from llmops_kit.infra.settings import setting_error
from llmops_kit.settings.resolved import ResolvedEndpoint
from llmops_kit.settings.stack_settings import Endpoint as Entry

_LONGEST_WAIT = 3600
_LEAST_WINDOW = 300  # between two times that a server asks its golden prompts
_LEAST_STEP = 10  # percent, of LinearStepSize: API_TrafficRoutingConfig
_PROVIDER_SECONDS = 3600
"""How long pulumi-aws waits for any change of an endpoint (terraform-provider-aws, internal/service/sagemaker)."""
_INSTANCES_SECONDS = 900
"""Allowance for steps that no setting limits: starting instances, pulling images, removing the old instances."""
_ASYNC_MOST_SECONDS = 3590.0
"""Less than an hour, the longest that a caller may let SageMaker wait for an answer (API_runtime_InvokeEndpointAsync).
"""
_MOST_BODY_BYTES = 6_291_456
"""Limit of BodyBlob in the service model of sagemaker-runtime."""
Refusal = tuple[tuple[str, ...], str, str]  # path below the endpoint's key, what, the fix


def require_supported(endpoint: ResolvedEndpoint) -> None:
    """Refuse settings of an endpoint that SageMaker can't honour.

    Raises:
        SettingError: naming the key.
    """
    entry = endpoint.entry
    of_endpoint = (*_of_size(endpoint), *_of_rollout(endpoint), *_of_time(endpoint), *_of_limits(entry))
    for path, what, fix in of_endpoint:
        raise setting_error(("endpoints", endpoint.name, *path), what, fix)


def rollout_window(endpoint: ResolvedEndpoint) -> int:
    """Returns the seconds, in whole minutes, over which an update's alarms aggregate: the whole time it is watched."""
    return max(_LEAST_WINDOW, 60 * -(-_waits(endpoint.entry) * endpoint.bake_seconds // 60))


def _of_size(endpoint: ResolvedEndpoint) -> Iterator[Refusal]:
    entry, kind = endpoint.entry, endpoint.machine.kind
    size = entry.size
    if entry.port:
        yield ("port",), "SageMaker chooses where an endpoint listens", "remove it"
    if entry.mode == "serverless":
        what = "a serverless endpoint has no network isolation, no GPU and no time to load a language model"
        yield ("mode",), what, "write `mode: async`, which scales to zero, or leave it out"
    if size.instances == 0 and entry.mode == "realtime":
        what = "a real-time endpoint scales to zero with inference components alone, which pulumi-aws has not"
        yield ("size", "instances"), what, "write `mode: async`, or 1"
    if size.instances == 0 and not size.max_instances:
        yield ("size", "max_instances"), "0 instances need scaling", "write how many it may have"
    if not INSTANCE_TYPE.match(kind):
        yield (
            ("size", "instance_type"),
            f"{kind} is not an instance type of SageMaker's",
            "write one such as ml.c5.2xlarge",
        )
    if entry.volume_gb and has_local_disks(kind):
        yield ("volume_gb",), f"{kind} has its own disks, whose size can't be chosen", "remove it"


def _of_rollout(endpoint: ResolvedEndpoint) -> Iterator[Refusal]:
    rollout, bake = endpoint.entry.rollout, endpoint.bake_seconds
    if rollout.mirror_percent:
        what = "SageMaker's updates copy no requests (its shadow tests are another thing)"
        yield ("rollout", "mirror_percent"), what, "remove it; a canary asks the new version with real requests"
    for field in ("extra_bakes", "on_inconclusive"):
        if field in rollout.model_fields_set:
            what = "SageMaker bakes for a fixed time, and rolls back on an alarm alone"
            yield ("rollout", field), what, "remove it; `bake_seconds` may be longer"
    if rollout.strategy == "canary" and rollout.canary_percent > 50:
        yield ("rollout", "canary_percent"), "SageMaker's canary takes 50 % at most", "write 50 or less"
    if rollout.strategy == "linear" and rollout.step_percent < _LEAST_STEP:
        what = f"a step of SageMaker's linear updates is {_LEAST_STEP} to 50 %"
        yield ("rollout", "step_percent"), what, f"write {_LEAST_STEP} or more"
    if bake > _LONGEST_WAIT:
        yield ("rollout", "bake_seconds"), f"SageMaker waits {_LONGEST_WAIT} s at most", "write less"


def _of_time(endpoint: ResolvedEndpoint) -> Iterator[Refusal]:
    """Yields a refusal of updates longer than the provider waits: AWS continues them, and the state never learns the
    result.
    """
    entry, bake = endpoint.entry, endpoint.bake_seconds
    start, download = entry.start_seconds, entry.download_seconds
    waits = _waits(entry)
    whole = waits * bake + download + start + _INSTANCES_SECONDS
    if whole <= _PROVIDER_SECONDS:
        return
    path = ("rollout", "bake_seconds") if waits * bake > max(download, start) else ("start_seconds",)
    if path == ("start_seconds",) and download > start:
        path = ("download_seconds",)
    what = (
        f"an update may take {-(-whole // 60)} minutes ({waits} waits of {bake} s, {download} s to download, {start} s "
        f"to start, {_INSTANCES_SECONDS // 60} minutes for instances), and Pulumi's provider gives up after "
        f"{_PROVIDER_SECONDS // 60}"
    )
    yield path, what, "write less: of `bake_seconds`, `download_seconds`, `start_seconds`, or fewer steps"


def _of_limits(entry: Entry) -> Iterator[Refusal]:
    realtime = entry.mode == "realtime"
    seconds, stream = (
        (PLATFORM_SECONDS["sagemaker"], PLATFORM_STREAM_SECONDS["sagemaker"])
        if realtime
        else (_ASYNC_MOST_SECONDS,) * 2
    )
    yield from refused_limits(entry.limits, "SageMaker", seconds, stream)
    if realtime and entry.limits.max_body > _MOST_BODY_BYTES:
        what = f"SageMaker takes bodies of {_MOST_BODY_BYTES} bytes at most"
        yield ("limits", "max_body"), what, f"write {_MOST_BODY_BYTES} or less, or `mode: async`"


def _waits(entry: Entry) -> int:
    """Returns how many times an update waits for `bake_seconds`."""
    rollout = entry.rollout
    steps = -(-100 // rollout.step_percent)
    return {"all_at_once": 1, "canary": 2, "linear": steps, "rolling": steps}[rollout.strategy]
