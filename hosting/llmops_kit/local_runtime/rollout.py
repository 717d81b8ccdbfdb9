"""Moves an endpoint to its next variant without losing requests; rolls back if the new variant fails."""

from collections.abc import Callable
from typing import Any

from llmops_kit.core.errors import HostingError
from llmops_kit.core.rollout import (
    MORE_EVIDENCE,
    Counts,
    Limits,
    RolloutOutcome,
    RolloutVerdict,
    Step,
    roll,
    steps,
    verdict,
)
from llmops_kit.local_runtime.endpoint import HostedEndpoint
from llmops_kit.local_runtime.spec import EndpointRecord, EndpointSpec

_LOOK_SECONDS = 0.2


def bring(endpoint: HostedEndpoint, spec: EndpointSpec, say: Callable[[str], None]) -> None:
    """Changes an endpoint to its spec from any state, including that of an interrupted change.

    Raises:
        HostingError: the new variant does not become ready, or failed as a canary; the old one serves as before.
    """
    record = endpoint.record()
    endpoint.remove_strangers(record)
    record = endpoint.ensure_router(record, spec)
    record = _settle(endpoint, record, spec)
    for variant, recorded in record.variants.items():
        endpoint.start_workers(variant, recorded)
    known = record.variants.get(spec.variant)
    missing = spec.instances - len(known.ports if known else [])
    record = endpoint.save(endpoint.add_workers(record, spec, max(0, missing)), on=True)
    endpoint.ensure_memory_watch(record)
    old = [v for v in record.variants if v != spec.variant]
    if not known:
        say(f"{endpoint.name}: starting variant {spec.variant} ({spec.instances} instances)")
    try:
        endpoint.start_workers(spec.variant, record.variants[spec.variant])
        endpoint.wait_ready(spec.variant, record.variants[spec.variant], say)
        endpoint.wait_router(record)
    except HostingError:
        _take_back(endpoint, record, spec, old)
        raise
    _switch(endpoint, record, spec, old, say)


def _settle(endpoint: HostedEndpoint, record: EndpointRecord, spec: EndpointSpec) -> EndpointRecord:
    """Removes the leftovers of an interrupted change: other variants without traffic, unless traffic is set
    manually.
    """
    weights = endpoint.weights()
    manual = spec.rollout.strategy == "manual"
    for variant in list(record.variants):
        if variant != spec.variant and not weights.get(variant) and not manual:
            record = endpoint.remove_workers(record, variant)
    return record


def _switch(
    endpoint: HostedEndpoint, record: EndpointRecord, spec: EndpointSpec, old: list[str], say: Callable[[str], None]
) -> None:
    new = spec.variant
    before = {v: w for v, w in endpoint.weights().items() if v in record.variants and w}
    settled = not old or (spec.rollout.strategy == "manual" and before)
    if old and before.keys() - {new} and spec.rollout.strategy == "canary":

        def shift(step: Step) -> None:
            say(f"{endpoint.name}: {step.share} % of the requests go to {new}, watched for {step.seconds:g} s")
            _route(endpoint, record, _shares(before, new, step.share), spec)

        watch = _Watch(endpoint, record, spec)
        if found := roll(
            _watched(spec),
            settings=spec.rollout,
            shift=shift,
            look=watch.look,
            say=lambda line: say(f"{endpoint.name}: {line}"),
            look_seconds=_LOOK_SECONDS,
        ):
            _take_back(endpoint, record, spec, old, before)
            raise _rolled_back(endpoint, found, new, old)
    weights = before if settled and before else {new: 100}
    _route(endpoint, record, weights, spec)
    surplus = record.variants[new].ports[spec.instances :]
    if spec.rollout.strategy != "manual":
        gone = [p for v in old for p in record.variants[v].ports] + surplus
        if gone and not endpoint.wait_drained(gone, spec.rollout.drain_seconds):
            say(f"{endpoint.name}: some requests to old workers are not finished; stopping the workers")
        for variant in old:
            record = endpoint.remove_workers(record, variant)
    if surplus:
        record = endpoint.remove_workers(record, new, surplus)
    if record.spec != spec:
        endpoint.save(record, spec=spec)


def _rolled_back(endpoint: HostedEndpoint, found: RolloutVerdict, new: str, old: list[str]) -> HostingError:
    fix = f"see its log below {endpoint.folder / 'logs'}, and deploy another version"
    reason = found.reason
    if found.outcome is RolloutOutcome.LITTLE_EVIDENCE:
        reason, fix = f"{found.outcome}: {found.reason}", MORE_EVIDENCE
    return HostingError(
        f"variant {new} was rolled back: {reason}; {', '.join(old)} serves as before",
        where=f"endpoint {endpoint.name}",
        fix=fix,
    )


def _watched(spec: EndpointSpec) -> tuple[Step, ...]:
    """Returns the steps before all requests go to the new variant."""
    rollout = spec.rollout
    plan = steps(
        rollout.strategy, canary_percent=rollout.canary_percent, step_percent=100, bake_seconds=rollout.bake_seconds
    )
    return plan[:-1]


def _route(endpoint: HostedEndpoint, record: EndpointRecord, weights: dict[str, int], spec: EndpointSpec) -> None:
    """Sets the weights, over all workers that stay; does nothing if the router has them already."""
    backends = {v: r.ports for v, r in record.variants.items()}
    if spec.variant in backends:
        backends[spec.variant] = backends[spec.variant][: spec.instances]
    if spec.rollout.strategy == "all_at_once":
        backends = {v: ports for v, ports in backends.items() if weights.get(v)}
    state = endpoint.router_state() or {}
    present = {b["url"] for b in state.get("backends", [])}
    wanted = {f"http://127.0.0.1:{p}" for ports in backends.values() for p in ports}
    if present != wanted or state.get("weights") != {v: weights.get(v, 0) for v in backends}:
        endpoint.route(weights, backends)


def _shares(before: dict[str, int], new: str, percent: int) -> dict[str, int]:
    """Returns weights that give the new variant `percent`, and keep the proportions among the others."""
    others = {v: w for v, w in before.items() if v != new}
    total = sum(others.values())
    return {v: w * (100 - percent) for v, w in others.items()} | {new: percent * total}


def _take_back(
    endpoint: HostedEndpoint,
    record: EndpointRecord,
    spec: EndpointSpec,
    old: list[str],
    weights: dict[str, int] | None = None,
) -> None:
    """Removes the workers that the change added, unless their variant has traffic already."""
    new = spec.variant
    serving = weights or {v: w for v, w in endpoint.weights().items() if w}
    if not old and not serving.get(new):
        endpoint.stop(record)
        return
    if serving.get(new) and weights is None:
        return  # the serving variant itself is not ready: supervision keeps trying
    back = {v: w for v, w in serving.items() if v != new}
    endpoint.route(back, {v: record.variants[v].ports for v in old})
    endpoint.wait_drained(record.variants[new].ports, spec.rollout.drain_seconds)
    endpoint.remove_workers(record, new)


class _Watch:
    """Compares the new variant with the old ones, by counts since before it gets traffic."""

    def __init__(self, endpoint: HostedEndpoint, record: EndpointRecord, spec: EndpointSpec) -> None:
        self._endpoint, self._spec = endpoint, spec
        self._old = [v for v in record.variants if v != spec.variant]
        names = [endpoint.worker(spec.variant, port) for port in record.variants[spec.variant].ports]
        programs = endpoint.daemon.programs()
        self._starts = {name: programs[name].starts for name in names}
        self._before = self._counts([spec.variant]), self._counts(self._old)

    def look(self) -> RolloutVerdict:
        """Compares the new variant with the old ones, by the requests that were answered since the start."""
        if ended := self._ended():
            return RolloutVerdict(RolloutOutcome.WORSE, ended)
        now = self._counts([self._spec.variant]), self._counts(self._old)
        new, old = (_since(before, after) for before, after in zip(self._before, now, strict=True))
        return verdict(new, old, Limits(self._spec.rollout.most_errors))

    def _ended(self) -> str:
        programs = self._endpoint.daemon.programs()
        for name, starts in self._starts.items():
            if programs[name].starts > starts or not programs[name].running:
                last = self._endpoint.daemon.log_tail(self._endpoint.log(name), 5)
                return "one of its workers ended" + "".join(f"\n  {line}" for line in last)
        return ""

    def _counts(self, variants: list[str]) -> Counts:
        state: dict[str, Any] = self._endpoint.router_state() or {"backends": []}
        backends = [b for b in state["backends"] if b["variant"] in variants]
        answered = sum(b["requests"] - b["in_flight"] for b in backends)
        return Counts(answered, sum(b["errors"] for b in backends))


def _since(before: Counts, after: Counts) -> Counts:
    """Returns the counts between two states, within their bounds: a restarted router counts from 0, and a request can
    count as an error before it is answered, or twice, by its status and by a cut stream.
    """
    requests = max(0, after.requests - before.requests)
    return Counts(requests, min(requests, max(0, after.errors - before.errors)))
