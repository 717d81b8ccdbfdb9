"""The resolved settings of a stack in a cloud: frozen values, in which each rule of precedence was applied once.

The program declares resources from them, and plan, preflight and rules read the same ones.
llmops_kit.settings.resolved_local has those of a stack on this machine.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from llmops_kit.clouds.account_names import named_after
from llmops_kit.clouds.targets import TARGETS, load
from llmops_kit.clouds.traits import CloudTraits
from llmops_kit.core.documents.run import Compute
from llmops_kit.core.engines.engine_settings import engine_variables
from llmops_kit.core.engines.records import EngineChoice
from llmops_kit.core.limits import limit_variables
from llmops_kit.core.validation import first_message
from llmops_kit.settings.production import require_production
from llmops_kit.settings.reading import KeyPath, SettingsOrigin
from llmops_kit.settings.stack_settings import Endpoint, Images, Settings

ImageField = Literal["serving", "serving_vllm"]
"""The field of `images` that names an endpoint's image."""


@dataclass(frozen=True)
class Machine:
    """Machine type of an endpoint in a cloud."""

    kind: str
    """Its instance type, the cloud's name for it."""
    key: KeyPath
    """The setting that says it."""
    gpus: bool
    """NVIDIA's, which vLLM computes on."""
    accelerated: bool
    """It is paid for GPUs or other accelerators."""


@dataclass(frozen=True)
class ResolvedEndpoint:
    """An endpoint's resolved settings."""

    name: str
    entry: Endpoint
    """Its own settings; the other fields depend on other settings or the cloud too."""
    machine: Machine
    image_field: ImageField
    image: str
    """Reference of its image in a cloud, by digest; empty: there is none."""
    is_kits_image: bool
    """Whether `images.serving` is the kit's, for CPUs only, or not set. A user's image may use GPUs."""
    bake_seconds: int
    """Seconds for which a new version is watched."""

    @property
    def variables(self) -> dict[str, str]:
        """The variables by which a cloud's server gets the endpoint's settings."""
        engine = told_engine(self.entry, self.image_field == "serving_vllm")
        found = engine_variables(self.entry) | ({} if engine == "auto" else {"LLMOPS_ENGINE": engine})
        # Then a server that fails its golden prompts still starts; alarms and the rollout decide about it.
        waived = {"LLMOPS_GOLDEN": "reported"} if self.entry.gate == "waived" else {}
        return found | waived | limit_variables(self.entry.limits)


@dataclass(frozen=True)
class ResolvedSchedule:
    """A scheduled run."""

    run: str
    cron: str
    timezone: str
    on: bool
    compute: Compute
    """The machines of its jobs."""


@dataclass(frozen=True)
class AlarmThresholds:
    """Limits beyond which a rollout is rolled back and a notification is sent; see the cloud's settings."""

    error_rate: float
    latency_seconds: float
    quality: float


@dataclass(frozen=True)
class ResolvedStack:
    """All settings of a stack in a cloud."""

    settings: Settings
    endpoints: Mapping[str, ResolvedEndpoint]
    jobs: Compute
    """Machines of a run that says nothing else."""
    schedules: Mapping[str, ResolvedSchedule]
    alarms: AlarmThresholds
    told: tuple[str, ...]
    """Addresses that get notifications about costs and alarms."""

    @property
    def images(self) -> Images:
        """By digest."""
        return self.settings.images


def told_engine(entry: Endpoint, in_vllms_image: bool) -> EngineChoice:
    """Returns the engine that an endpoint's server is told to use; auto: it chooses one itself.

    vLLM's image is told to use it: with a driver that fails it would else serve on the processors beside idle GPUs.
    """
    return "vllm" if in_vllms_image else entry.engine


def resolve_stack(settings: Settings, origin: SettingsOrigin, stack: str, prefix: str = "") -> ResolvedStack:
    """Resolves the settings of a stack in a cloud. Looks nothing up.

    Args:
        settings: of the stack.
        origin: the stack's file, named in errors, and its project.
        stack: its name, which the names of its own repositories contain.
        prefix: of those names, in a component of somebody's own program.

    Raises:
        SettingError: two settings contradict each other, or a production stack has weaker ones.
    """
    require_production(settings, origin)
    record = TARGETS[settings.target]
    cloud, traits = getattr(settings, record.name), load(record.traits)
    repository = named_after(origin.project, stack, f"{prefix}serving")
    ours = not settings.images.serving or traits.is_the_kits(settings.images.serving, cloud.registry, repository)
    endpoints = {
        name: _in_cloud(settings, name, _machine(record.name, cloud, name, entry, traits), ours, traits)
        for name, entry in settings.endpoints.items()
    }
    schedules = {
        name: _schedule((record.name, "schedules", name), cloud.jobs, schedule, origin)
        for name, schedule in cloud.schedules.items()
    }
    alarms = AlarmThresholds(**cloud.alarms.model_dump())
    return ResolvedStack(settings, endpoints, _compute(cloud.jobs), schedules, alarms, tuple(cloud.budget.emails))


def _in_cloud(settings: Settings, name: str, machine: Machine, ours: bool, traits: CloudTraits) -> ResolvedEndpoint:
    entry = settings.endpoints[name]
    field = _image_field(entry.engine, machine, ours)
    return ResolvedEndpoint(
        name, entry, machine, field, getattr(settings.images, field), ours, _bake_seconds(entry, traits)
    )


def _machine(target: str, cloud: Any, name: str, entry: Endpoint, traits: CloudTraits) -> Machine:
    """Returns the machine of an endpoint's own instance type, else of the cloud's default."""
    own = entry.size.instance_type
    kind = own or cloud.instance_type
    key = ("endpoints", name, "size", "instance_type") if own else (target, "instance_type")
    return Machine(kind, key, traits.has_gpus(kind), traits.is_accelerated(kind))


def _image_field(engine: str, machine: Machine, ours: bool) -> ImageField:
    """Returns vLLM's image if it is requested or has GPUs, unless `images.serving` is a user's own image."""
    return "serving_vllm" if engine == "vllm" or (engine == "auto" and machine.gpus and ours) else "serving"


def _bake_seconds(entry: Endpoint, traits: CloudTraits) -> int:
    """Returns the endpoint's own value, else its cloud's: the default in the settings suits this machine."""
    rollout = entry.rollout
    return rollout.bake_seconds if "bake_seconds" in rollout.model_fields_set else traits.bake_seconds


def _schedule(path: KeyPath, jobs: Compute, given: Any, origin: SettingsOrigin) -> ResolvedSchedule:
    """Returns a schedule with its own machines, else those of `jobs`."""
    own = {key: value for key in ("instance_type", "max_hours") if (value := getattr(given, key))}
    try:
        compute = _compute(jobs, **own)
    except ValidationError as e:
        raise origin.error(path, f"with `jobs`: {first_message(e)}", "change one of the two") from None
    return ResolvedSchedule(given.run, given.cron, given.timezone, given.on, compute)


def _compute(jobs: Compute, **own: Any) -> Compute:
    return Compute.model_validate(jobs.model_dump() | own)
