"""Makes a plan: previews a stack, then adds descriptions, cost and requirements."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from llmops_kit.cli.images.due import DueImage, due_images, expected_references
from llmops_kit.cli.interfaces.changes import ResourceChange, changes_of, resources_of
from llmops_kit.cli.interfaces.costs import CostLine, TokenCost, Total, endpoint_costs, token_costs, total
from llmops_kit.cli.interfaces.endpoint_plans import EndpointPlan, short
from llmops_kit.cli.interfaces.platform import Platform, Say
from llmops_kit.cli.interfaces.quotas import QuotaNeed, instances_needed
from llmops_kit.cli.machines.prices import Prices, load_prices
from llmops_kit.cli.plan.drivers import HostDriver, host_drivers
from llmops_kit.cli.plan.gpu_fit import fit_words
from llmops_kit.cli.plan.limits import limit_changes, memory_limits
from llmops_kit.cli.plan.schedules import ScheduledTraining, check_schedules
from llmops_kit.cli.platforms import registry
from llmops_kit.cli.stacks.stack import PulumiStack
from llmops_kit.core.errors import KitError
from llmops_kit.policies.rules import Verdict, judge
from llmops_kit.settings.resolved import ResolvedStack


@dataclass(frozen=True)
class Plan:
    """The effects, requirements and costs of the next `up`."""

    stack: str
    target: str
    changes: list[ResourceChange]
    versions: dict[str, tuple[str, str]]  # endpoint -> deployed, asked for
    endpoints: list[EndpointPlan] = field(default_factory=list)
    costs: list[CostLine] = field(default_factory=list)
    tokens: list[TokenCost] = field(default_factory=list)
    quotas: list[QuotaNeed] = field(default_factory=list)
    trainings: list[ScheduledTraining] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    region: str = ""
    verdict: Verdict = field(default_factory=Verdict)  # of the kit's rules, which are for clouds
    limits: dict[str, list[str]] = field(default_factory=dict)  # endpoint -> changed limits and prefix cache, in words
    images: list[DueImage] = field(default_factory=list)  # which `up` builds first, unless --no-build is given
    memory: dict[str, str] = field(default_factory=dict)  # endpoint of this machine -> memory of a server, in words
    drivers: list[HostDriver] = field(default_factory=list)  # of machines with GPUs

    @property
    def idle(self) -> Total:
        """Cost while no requests are served."""
        return total(self.costs, busy=False)

    @property
    def busy(self) -> Total:
        """Cost at the largest number of instances."""
        return total(self.costs, busy=True)


def make_plan(
    stack: PulumiStack, say: Say, *, tokens_per_second: float = 0.0, refresh: bool = False, build: bool = True
) -> Plan:
    """Previews a stack and explains the result. A stack that is missing in its backend is not created.

    Args:
        stack: the stack.
        say: called before slow steps.
        tokens_per_second: measured throughput of one instance; 0: unknown.
        refresh: whether to read the live state of every resource first, so that drift is shown.
        build: whether the preview has the images that `up` would build first. None is built here.

    Raises:
        KitError: the preflight or the preview failed.
    """
    stack.project.require_program()
    registry.preflight(stack, say, dev=True, make=False)  # a preview writes no state
    images, references, unread = _due(stack) if build else ([], {}, [])
    say("previewing")
    with stack.for_preview(references) as previewed:
        preview = previewed.preview(*(["--refresh"] if refresh else []))
        deployed = _deployed(previewed)
    changes, resources = changes_of(preview), resources_of(preview)
    promoted = stack.file.promoted()
    versions = {
        name: (short(deployed.get(name, "")), short(promoted[name].model if name in promoted else ""))
        for name in sorted({*deployed, *promoted})
    }
    target, where = registry.operations_of(stack.target), str(stack.file.path)
    limits = limit_changes(preview, list(versions))
    if target.plan_rules is None:
        return Plan(stack.name, stack.target, changes, versions, limits=limits, memory=memory_limits(resources))
    rules = target.plan_rules.load()
    resolved = stack.resolve()
    endpoints = rules.plan_endpoints(resources, changes, resolved.endpoints, deployed)
    endpoints = _with_fits(stack, endpoints, resolved)
    region = target.use(target.region, "region", where)(stack)
    prices = load_prices(region)
    runs = rules.run_machines(resources, resolved)
    needed = instances_needed(endpoints) | runs
    drivers = host_drivers(endpoints, runs, resolved)
    quotas = target.use(target.quotas, "quotas", where)(stack, needed) if needed else []
    trainings = _scheduled(stack, resolved, prices, say)
    return Plan(
        stack.name,
        stack.target,
        changes,
        versions,
        endpoints,
        [*endpoint_costs(endpoints, prices), *rules.resource_costs(resources, prices)],
        token_costs(endpoints, prices, tokens_per_second),
        quotas,
        trainings,
        [*unread, *_warnings(endpoints, quotas, trainings, drivers), *rules.warnings(resources, resolved)],
        region,
        judge(resources, resolved.settings.accepted_rules),
        limits,
        images,
        drivers=drivers,
    )


def _due(stack: PulumiStack) -> tuple[list[DueImage], dict[str, str], list[str]]:
    """Returns the images that `up` builds, the references that it will write, and a warning if they can't be known.

    Whoever only plans may not be allowed to read the registry. The preview reports wrong settings.
    """
    try:
        images = due_images(stack)
        return images, expected_references(stack, images), []
    except KitError as e:
        return [], {}, [f"unknown which images `up` builds first: {e}"]


def _deployed(stack: PulumiStack) -> dict[str, str]:
    try:
        return {name: output.model for name, output in stack.outputs().endpoints.items()}
    except KitError:
        return {}  # never deployed


def _scheduled(stack: PulumiStack, resolved: ResolvedStack, prices: Prices, say: Say) -> list[ScheduledTraining]:
    return check_schedules(resolved.schedules, _platform(stack), prices, say) if resolved.schedules else []


def _platform(stack: PulumiStack) -> Platform | None:
    try:
        return registry.open_platform(stack.outputs())
    except KitError:
        return None  # never deployed


def _with_fits(stack: PulumiStack, endpoints: Sequence[EndpointPlan], resolved: ResolvedStack) -> list[EndpointPlan]:
    """Returns the endpoints, with a note of each that vLLM serves on whether its version fits on the GPU."""
    on_gpus = {name: each.entry for name, each in resolved.endpoints.items() if each.image_field == "serving_vllm"}
    if not on_gpus:
        return list(endpoints)
    platform = _platform(stack)
    found = []
    for endpoint in endpoints:
        entry, words = on_gpus.get(endpoint.name), ""
        if entry:
            words = fit_words(platform, entry.version, endpoint.instance_type, entry.precision)
        found.append(replace(endpoint, notes=[*endpoint.notes, words]) if words else endpoint)
    return found


def _warnings(
    endpoints: Sequence[EndpointPlan],
    quotas: Sequence[QuotaNeed],
    trainings: Sequence[ScheduledTraining],
    drivers: Sequence[HostDriver],
) -> list[str]:
    warnings = [f"{e.name}: {note}" for e in endpoints for note in e.notes]
    warnings += [quota.words + (f"; {quota.fix}" if quota.fix else "") for quota in quotas if quota.enough is False]
    warnings += [f"schedule {each.schedule}: {each.words}" for each in trainings if each.fits is False]
    warnings += [each.warning for each in drivers if each.warning]
    if any(e.change == "create" for e in endpoints):
        warnings.append("alarms of a new endpoint have no data before its first requests, so they guard no rollout yet")
    return warnings
