"""From one variant of an endpoint to the next, without losing a request; taken back when the next one fails."""

import time
from collections.abc import Callable
from typing import Any

from contract.errors import HostingError
from hosting.endpoint import Endpoint
from hosting.spec import EndpointRecord, EndpointSpec


def bring(endpoint: Endpoint, spec: EndpointSpec, say: Callable[[str], None]) -> None:
    """Make an endpoint what the spec says, from whatever it is, an interrupted change included.

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
    old = [v for v in record.variants if v != spec.variant]
    if not known:
        say(f"{endpoint.name}: starting variant {spec.variant} ({spec.instances} instances)")
    try:
        endpoint.start_workers(spec.variant, record.variants[spec.variant])
        endpoint.wait_ready(spec.variant, record.variants[spec.variant], say)
    except HostingError:
        _take_back(endpoint, record, spec, old)
        raise
    _switch(endpoint, record, spec, old, say)


def _settle(endpoint: Endpoint, record: EndpointRecord, spec: EndpointSpec) -> EndpointRecord:
    """Undo the leftovers of an interrupted change: of the other variants, only those with traffic stay."""
    weights = endpoint.weights()
    manual = spec.rollout.strategy == "manual"
    for variant in list(record.variants):
        if variant != spec.variant and not weights.get(variant) and not manual:
            record = endpoint.remove_workers(record, variant)
    return record


def _switch(
    endpoint: Endpoint, record: EndpointRecord, spec: EndpointSpec, old: list[str], say: Callable[[str], None]
) -> None:
    new = spec.variant
    before = {v: w for v, w in endpoint.weights().items() if v in record.variants and w}
    share = {"manual": 0, "canary": spec.rollout.canary_percent}.get(spec.rollout.strategy, 100)
    settled = not old or (spec.rollout.strategy == "manual" and before)
    if old and before.keys() - {new} and spec.rollout.strategy == "canary":
        say(f"{endpoint.name}: {share} % of the requests go to {new}, watched for {spec.rollout.bake_seconds:g} s")
        _route(endpoint, record, _shares(before, new, share), spec)
        if reason := _watch(endpoint, new, old, spec):
            _take_back(endpoint, record, spec, old, before)
            raise HostingError(
                f"variant {new} was rolled back: {reason}; {', '.join(old)} serves as before",
                where=f"endpoint {endpoint.name}",
                fix=f"see its log below {endpoint.folder / 'logs'}, and deploy another version",
            )
    weights = before if settled and before else {new: 100}
    _route(endpoint, record, weights, spec)
    surplus = record.variants[new].ports[spec.instances :]
    if spec.rollout.strategy != "manual":
        gone = [p for v in old for p in record.variants[v].ports] + surplus
        if gone and not endpoint.wait_drained(gone, spec.rollout.drain_seconds):
            say(f"{endpoint.name}: some requests to old workers are not finished; their end is asked for")
        for variant in old:
            record = endpoint.remove_workers(record, variant)
    if surplus:
        record = endpoint.remove_workers(record, new, surplus)
    if record.spec != spec:
        endpoint.save(record, spec=spec)


def _route(endpoint: Endpoint, record: EndpointRecord, weights: dict[str, int], spec: EndpointSpec) -> None:
    """Set the weights, over all workers that stay; nothing happens when the router has them."""
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
    """`percent` for the new variant, the rest for the others as they were to each other."""
    others = {v: w for v, w in before.items() if v != new}
    total = sum(others.values())
    return {v: w * (100 - percent) for v, w in others.items()} | {new: percent * total}


def _take_back(
    endpoint: Endpoint,
    record: EndpointRecord,
    spec: EndpointSpec,
    old: list[str],
    weights: dict[str, int] | None = None,
) -> None:
    """Remove what the change added; a variant that has traffic already keeps its other workers."""
    new = spec.variant
    serving = weights or {v: w for v, w in endpoint.weights().items() if w}
    if not old and not serving.get(new):
        endpoint.stop(record)
        return
    if serving.get(new) and weights is None:
        return  # the serving variant itself is not ready: supervision goes on trying
    back = {v: w for v, w in serving.items() if v != new}
    endpoint.route(back, {v: record.variants[v].ports for v in old})
    endpoint.wait_drained(record.variants[new].ports, spec.rollout.drain_seconds)
    endpoint.remove_workers(record, new)


def _watch(endpoint: Endpoint, new: str, old: list[str], spec: EndpointSpec) -> str:
    """Watch the canary for its time; why it failed, or an empty string."""
    start = _counts(endpoint, new), _counts(endpoint, *old)
    names = [endpoint.worker(new, port) for port in endpoint.record().variants[new].ports]
    starts = {n: endpoint.daemon.programs()[n].starts for n in names}
    deadline = time.monotonic() + spec.rollout.bake_seconds
    while True:
        programs = endpoint.daemon.programs()
        for name in names:
            if programs[name].starts > starts[name] or not programs[name].running:
                last = endpoint.daemon.log_tail(endpoint.log(name), 5)
                return "a worker of it ended" + "".join(f"\n  {line}" for line in last)
        now = _counts(endpoint, new), _counts(endpoint, *old)
        (requests, errors), (old_requests, old_errors) = (
            (b[0] - a[0], b[1] - a[1]) for a, b in zip(start, now, strict=True)
        )
        rate, old_rate = errors / max(1, requests), old_errors / max(1, old_requests)
        if errors and rate > old_rate + spec.rollout.most_errors:
            return f"{errors} of its {requests} requests failed ({old_errors} of {old_requests} of the old variant's)"
        if time.monotonic() > deadline:
            return ""
        time.sleep(min(0.2, spec.rollout.bake_seconds / 10))


def _counts(endpoint: Endpoint, *variants: str) -> tuple[int, int]:
    state: dict[str, Any] = endpoint.router_state() or {"backends": []}
    backends = [b for b in state["backends"] if b["variant"] in variants]
    return sum(b["requests"] for b in backends), sum(b["errors"] for b in backends)
