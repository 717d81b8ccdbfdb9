"""An endpoint's traffic: a separate step, after the deployments exist and before the old one is deleted.

Azure ML has traffic weights, but nothing that watches a rollout. So the rollout happens here: it moves the traffic in
steps, watches each one, and rolls back if the new deployment does worse. The update fails then, so that the engine
deletes nothing and the old deployment continues to serve.
https://learn.microsoft.com/azure/machine-learning/how-to-safely-rollout-online-endpoints
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from pulumi import dynamic

from llmops_kit.clouds.azure.endpoint_documents import owner_of, state_of, traffic_of
from llmops_kit.clouds.azure.location import AzureLocation
from llmops_kit.clouds.azure.names import MODEL_NAME, MODEL_SHA256
from llmops_kit.clouds.azure.objects import AzureContainer
from llmops_kit.clouds.azure.session import open_session
from llmops_kit.core.errors import KitError
from llmops_kit.core.rejections import reject
from llmops_kit.core.rollout import (
    MORE_EVIDENCE,
    Counts,
    Limits,
    Owner,
    RolloutOutcome,
    RolloutVerdict,
    Step,
    WatchedRollout,
    roll,
    steps,
    verdict,
)
from llmops_kit.infra.targets.azure.deployment_metrics import counts
from llmops_kit.infra.targets.azure.online import (
    BY_UP,
    find_deployment,
    find_endpoint,
    name_of,
    put_traffic,
    require_endpoint,
    wait_for_owner,
)
from llmops_kit.infra.targets.azure.providers.located import AzureLocatedResource
from llmops_kit.infra.targets.dynamic import KitProvider, Properties, differ, gone, inputs_of, say

_MARGIN = timedelta(minutes=5)  # to set the weights
_HISTORY = timedelta(hours=1)
"""Period of the old deployments' requests to compare with, if an update moves all requests at once."""


class TrafficProvider(KitProvider):
    """Moves all of an endpoint's traffic to one deployment."""

    def diff(self, _id: str, _olds: Properties, _news: Properties) -> dynamic.DiffResult:
        """Reports a change of inputs, and live weights that differ; a PUT of the endpoint may have removed them."""
        live = find_endpoint(_news)
        moved = traffic_of(live) != {_news["deployment"]: 100} or owner_of(live) is not None
        return dynamic.DiffResult(changes=differ(_olds, _news) or moved)

    def create(self, props: Properties) -> dynamic.CreateResult:
        """Moves all requests to a new endpoint's deployment."""
        _bring(props)
        return dynamic.CreateResult(props["endpoint"], inputs_of(props))

    def update(self, _id: str, _olds: Properties, _news: Properties) -> dynamic.UpdateResult:
        """Roll out."""
        _bring(_news)
        return dynamic.UpdateResult(inputs_of(_news))

    def read(self, id_: str, props: Properties) -> dynamic.ReadResult:
        """Return the live values as inputs too, so that the next preview shows the next update's changes."""
        live = find_endpoint(props)
        if live is None:
            return gone()
        found = inputs_of(props) | {"share": traffic_of(live).get(props["deployment"], 0)}
        return dynamic.ReadResult(id_, found, found)

    def delete(self, _id: str, _props: Properties) -> None:
        """Set all weights to 0: a deployment with traffic can't be deleted."""
        if traffic_of(find_endpoint(_props)):
            put_traffic(_props, {})


class Traffic(AzureLocatedResource, module="llmops", name="Traffic"):
    """Sets an endpoint's weights after its deployments exist.

    Inputs: endpoint (resource id), deployment (name of the one that gets everything), share (of it, 100), model and
    sha256 (the version), rollout (its settings), limits (of errors, latency and quality), store (URL of the container
    for rejections), setting (key of the line that names the version).
    """

    PROVIDER = TrafficProvider


def shares(old: dict[str, int], new: str, percent: int) -> dict[str, int]:
    """Returns weights that give the new deployment `percent`, and keep the proportions among the others; 100 in all.

    Args:
        old: weights of the others, each above 0.
        new: the new deployment.
        percent: 0 to 100.
    """
    rest, total = 100 - percent, sum(old.values())
    exact = {name: weight * rest / total for name, weight in old.items()}
    whole = {name: int(share) for name, share in exact.items()}
    by_remainder = sorted(exact, key=lambda name: (whole[name] - exact[name], name))
    for name in by_remainder[: rest - sum(whole.values())]:
        whole[name] += 1
    return {name: share for name, share in (whole | {new: percent}).items() if share}


def _bring(props: Properties) -> None:
    wait_for_owner(props)
    live = require_endpoint(props, at_rest=True)
    new = props["deployment"]
    _require_ready(props, new)
    before = traffic_of(live)
    old = {name: weight for name, weight in before.items() if name != new}
    if old:
        _roll_out(props, old, new)
    if old or before != {new: 100} or owner_of(live):
        put_traffic(props, {new: 100})


def _roll_out(props: Properties, old: dict[str, int], new: str) -> None:
    """Move the traffic in steps; roll back if the new deployment does worse.

    Raises:
        KitError: it was rolled back; gives the reason.
    """
    plan, settings = _plan(props["rollout"]), _settings(props["rollout"])
    rollout = _WatchedTraffic(props, old, new, plan, settings.extra_bakes)
    try:
        found = roll(plan, settings=settings, shift=rollout.shift, look=rollout.look, say=rollout.say)
    except Exception:  # not for Ctrl-C: the next update takes over the weights by their owner's mark
        rollout.say("the rollout can't continue, so it is rolled back")
        put_traffic(props, shares(old, new, 0))
        raise
    if found:
        rollout.say(f"{found.reason}: back to {', '.join(old)}")
        put_traffic(props, shares(old, new, 0))
        _refuse(props, old, new, found)


class _WatchedTraffic:
    """The traffic and the metrics of a rollout under way."""

    def __init__(
        self, props: Properties, old: dict[str, int], new: str, plan: Sequence[Step], extra_bakes: int
    ) -> None:
        self._props, self._old, self._new, self._extra_bakes = props, old, new, extra_bakes
        self._since = datetime.now(UTC)
        self._old_since = self._since - _HISTORY if plan[0].moves_all else self._since
        self._alone = False

    def say(self, line: str) -> None:
        """Say a line about the endpoint."""
        say(f"{name_of(self._props)}: {line}")

    def shift(self, step: Step) -> None:
        """Give the new deployment a step's share, and own the weights for the longest time that the step can take."""
        what = f"copies of {step.mirror} %" if step.mirror else f"{step.share} %"
        self.say(f"{what} of the requests go to {self._new}, watched for {step.seconds:g} s")
        bakes = 1 if step.moves_all else 1 + self._extra_bakes
        until = datetime.now(UTC) + timedelta(seconds=step.seconds * bakes) + _MARGIN
        mirror = {self._new: step.mirror} if step.mirror else {}
        put_traffic(self._props, shares(self._old, self._new, step.share), Owner(self._new, BY_UP, until), mirror)
        self._alone = step.moves_all

    def look(self) -> RolloutVerdict:
        """Compares the new deployment with the old ones.

        Raises:
            KitError: the new one failed or is gone, which does not count against the version: Azure may lack capacity,
                or somebody may have deleted it.
        """
        found = find_deployment(self._props, self._new)
        if (state := state_of(found or {})) not in ("Succeeded", "Updating"):
            raise KitError(
                f"its deployment {self._new} is {state or 'gone'}; {', '.join(self._old)} serves as before",
                where=name_of(self._props),
                fix=_fix(found is None),
            )
        new = counts(self._props, self._new, self._since)
        old = _together([counts(self._props, name, self._old_since) for name in self._old])
        return verdict(new, old, Limits(**self._props["limits"]), alone=self._alone)


def _settings(rollout: Properties) -> WatchedRollout:
    return WatchedRollout.model_validate({name: rollout[name] for name in WatchedRollout.model_fields})


def _plan(rollout: Properties) -> tuple[Step, ...]:
    """Returns the steps. The engine turns numbers of properties into floats."""
    return steps(
        rollout["strategy"],
        canary_percent=int(rollout["canary_percent"]),
        step_percent=int(rollout["step_percent"]),
        mirror_percent=int(rollout["mirror_percent"]),
        bake_seconds=rollout["bake_seconds"],
    )


def _together(old: Sequence[Counts]) -> Counts:
    """Returns the sum of several deployments' counts, with the highest latency."""
    latencies = [each.latency_seconds for each in old if each.latency_seconds is not None]
    return Counts(
        sum(each.requests for each in old),
        sum(each.errors for each in old),
        max(latencies) if latencies else None,
    )


def _require_ready(props: Properties, name: str) -> None:
    found = find_deployment(props, name)
    state = state_of(found or {})
    if state != "Succeeded":
        raise KitError(
            f"its deployment {name} is {state or 'not on Azure'}, and gets no requests",
            where=name_of(props),
            fix="`llmops logs` shows what its server said; " + _fix(found is None),
        )


def _fix(missing: bool) -> str:
    if missing:
        return "`pulumi refresh` removes it from the state, then `pulumi up` creates it again"
    return "fix the cause, or promote another version; then `pulumi up` creates it again"


def _refuse(props: Properties, old: dict[str, int], new: str, found: RolloutVerdict) -> None:
    """Raise that the rollout was rolled back; mark the version as rejected if it was worse than another one."""
    serves = max(old, key=lambda name: old[name])
    environment = (find_deployment(props, serves) or {}).get("properties", {}).get("environmentVariables") or {}
    model, sha256 = environment.get(MODEL_NAME, ""), environment.get(MODEL_SHA256, "")
    what = f"the rollout of {new} was rolled back: {found.reason}; {serves} serves as before"
    kept = "`pulumi up`, which removes the new deployment: it gets no requests, and is kept until then for its log"
    if found.outcome is RolloutOutcome.LITTLE_EVIDENCE:
        raise KitError(f"{found.outcome}: {what}", where=name_of(props), fix=MORE_EVIDENCE)
    if not sha256 or sha256 == props["sha256"]:
        raise KitError(what, where=name_of(props), fix=f"revert the changed setting, then {kept}")
    line = f"{props['setting']}: {model}@sha256:{sha256}"
    store = AzureContainer(open_session(AzureLocation.of(props)), props["store"])
    endpoint = props["endpoint"].rpartition("/")[2]
    reject(props["sha256"], found.reason, endpoint, store.count, store.create, line)
    raise KitError(
        f"{what}; {props['model']} is marked rejected",
        where=name_of(props),
        fix=f"go back with `{line}` in the stack file, then {kept}",
    )
