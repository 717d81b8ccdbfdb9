"""The states of an endpoint over time: it is created or updated step by step, bakes, is rolled back, or fails.

The state machine is stored in the endpoint's document (`rollout`), so that it survives a restart and a change of pace.
"""

import copy
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress

from llmops_twins.aws import faults
from llmops_twins.aws import sagemaker_documents as store
from llmops_twins.aws.calls import AwsApiError
from llmops_twins.aws.sagemaker.endpoints import containers as fleet
from llmops_twins.aws.sagemaker.endpoints import guardrails, obstacles, variants
from llmops_twins.aws.sagemaker_documents import ENDPOINT
from llmops_twins.aws.service_documents import Document, now, regions
from llmops_twins.aws.twin import AWS_TRANSITION_SECONDS, AccountTwin

_LOOK_SECONDS = 0.1
# Even if transitions take no time (pace 0), an update takes some, and so does noticing an alarm.
_SHORTEST_TIMEOUT_SECONDS = 1.0
_SHORTEST_BAKE_SECONDS = 0.5
_LONGEST_LOOK_SECONDS = 1.0
_ALARM = "One or more configured alarms for the deployment went into ALARM state."
"""Assumed: no source was found for AWS's text, nor for whether it names the alarm."""


class EndpointRollout:
    """Moves endpoints from one configuration to the next."""

    def __init__(self, twin: AccountTwin) -> None:
        self._twin = twin
        twin.every(_LOOK_SECONDS, self._look)
        twin.action_named("sagemaker.scale", self._scaled)

    def begin(
        self, endpoint: Document, config: Document, deployment: Document | None, retained: Mapping[str, Document]
    ) -> None:
        """Starts the transition of an endpoint to a configuration, from nothing or from the serving one."""
        creates = endpoint["EndpointStatus"] == "Creating"
        steps = guardrails.steps(None if creates else deployment, config)
        endpoint["rollout"] = {
            "config": copy.deepcopy(config),
            "deployment": deployment,
            "retained": dict(retained),
            "steps": steps,
            "step": 0,
            "began": time.time(),
            "step_began": time.time(),
        }
        if not creates:
            endpoint["rollout"]["shown"] = {"PendingDeploymentSummary": self._pending(endpoint, retained)}

    def scale(self, endpoint: Document, desired: Iterable[Document]) -> None:
        """Changes weights and instance counts of variants, which takes the time of a transition and of the
        containers.
        """
        before: dict[str, Document] = {}
        for each in desired:
            live = endpoint["variants"][each["VariantName"]]
            before[each["VariantName"]] = {n: live[n] for n in ("DesiredWeight", "DesiredInstanceCount") if n in live}
            live.update({name: each[name] for name in ("DesiredWeight", "DesiredInstanceCount") if name in each})
            if serverless := each.get("ServerlessUpdateConfig"):
                live["DesiredServerlessConfig"] = live.get("DesiredServerlessConfig", {}) | serverless
        endpoint.update(EndpointStatus="Updating", LastModifiedTime=now(), scaling=before)
        self._set_counts(endpoint)
        self._twin.later(self._twin.settings.pace, "sagemaker.scale", *_place(endpoint))

    def _scaled(self, region: str, arn: str) -> None:
        endpoint = store.documents(self._twin, ENDPOINT, region).get(arn)
        if endpoint is None or endpoint["EndpointStatus"] != "Updating" or "rollout" in endpoint:
            return
        if problem := self._problem_of_scaling(region, endpoint):
            endpoint["FailureReason"] = problem[:1024]
            obstacles.met(self._twin, problem, endpoint["config"])
            for name, wanted in endpoint["scaling"].items():
                endpoint["variants"][name].update(wanted)
            self._set_counts(endpoint)
        elif any(not self._twin.fleet.progress(arn, group["id"]).complete for group in endpoint.get("groups", [])):
            self._twin.later(_LOOK_SECONDS, "sagemaker.scale", region, arn)
            return
        endpoint.pop("scaling", None)
        for live in endpoint["variants"].values():
            for name in ("Weight", "InstanceCount", "ServerlessConfig"):
                if f"Desired{name}" in live:
                    live[f"Current{name}"] = live[f"Desired{name}"]
        for group in endpoint.get("groups", []):
            fleet.weigh(group, endpoint["variants"])
        endpoint.update(EndpointStatus="InService", LastModifiedTime=now())
        fleet.tell(self._twin, endpoint)

    def _set_counts(self, endpoint: Document) -> None:
        for group in endpoint.get("groups", []):
            fleet.resize(group, fleet.counts(endpoint["variants"]))
        fleet.tell(self._twin, endpoint)

    def _problem_of_scaling(self, region: str, endpoint: Document) -> str:
        """Returns why no more instances are available; empty if they are."""
        for name, before in endpoint.get("scaling", {}).items():
            more = endpoint["variants"][name].get("DesiredInstanceCount", 0) > before.get("DesiredInstanceCount", 0)
            for variant in endpoint["config"]["ProductionVariants"]:
                if more and variant["VariantName"] == name and (problem := obstacles.no_capacity(self._twin, variant)):
                    return problem
        found = [self._twin.fleet.progress(endpoint["EndpointArn"], each["id"]) for each in endpoint.get("groups", [])]
        return next((each.problem for each in found if each.problem), "")

    def _look(self) -> None:
        for region in regions(self._twin, store.SERVICE):
            for endpoint in list(store.documents(self._twin, ENDPOINT, region).values()):
                self._follow_settings(region, endpoint)
                while "rollout" in endpoint and self._advance(region, endpoint):
                    self._twin.changed()

    def _remaining(self, endpoint: Document) -> float:
        rollout = endpoint["rollout"]
        step = rollout["steps"][rollout["step"]]
        seconds = self._twin.scaled(step["seconds"])
        if step["status"] == "Baking" and "group" in rollout and guardrails.alarm_names(rollout["deployment"]):
            seconds = max(seconds, _SHORTEST_BAKE_SECONDS)
        return rollout["step_began"] + seconds - time.time()

    def _advance(self, region: str, endpoint: Document) -> bool:
        """Carries out the next step if it is due; False if nothing is due."""
        rollout = endpoint["rollout"]
        if endpoint["EndpointStatus"] == "RollingBack":
            return self._advance_rollback(endpoint)
        self._start_containers(region, endpoint)
        if problem := self._interruption(region, endpoint):
            self._give_up(endpoint, problem)
        elif self._remaining(endpoint) > 0:
            return False
        elif self._waits_for_container(region, endpoint):
            rollout["waits"] = True
            return False
        elif rollout["step"] + 1 < len(rollout["steps"]):
            rollout.update(step=rollout["step"] + 1, step_began=time.time())
            self._show_step(endpoint)
        else:
            self._finish(endpoint)
        return True

    # -- interruptions ------------------------------------------------------------------------------------------------

    def _interruption(self, region: str, endpoint: Document) -> str:
        """Returns why a rollout can't continue; empty if it can."""
        rollout = endpoint["rollout"]
        _count_time(rollout)
        updates = endpoint["EndpointStatus"] == "Updating"
        longest = self._twin.scaled(guardrails.timeout(rollout["deployment"]))
        if updates and rollout["lasted"] > max(longest, _SHORTEST_TIMEOUT_SECONDS):
            return "The deployment did not complete within MaximumExecutionTimeoutInSeconds."
        if updates and guardrails.ringing(self._twin, region, rollout["deployment"]):
            return _ALARM
        if "group" in rollout:
            return self._twin.fleet.progress(endpoint["EndpointArn"], rollout["group"]).problem
        if rollout["step"] == 0 and self._remaining(endpoint) <= 0:
            return obstacles.found(self._twin, region, endpoint) or rollout.get("unrunnable", "")
        return ""

    def _waits_for_container(self, region: str, endpoint: Document) -> bool:
        """Returns whether the rollout waits for a container that does not answer, or for a missing model."""
        rollout = endpoint["rollout"]
        config = rollout["config"]
        if fleet.runs(self._twin):
            return "group" not in rollout or not self._complete(endpoint, rollout["group"])
        if rollout["step"] > 0:
            return False
        found = [variants.containers(self._twin, region, variant) for variant in variants.all_of(config)]
        return any(each is None or obstacles.are_silent(self._twin, each) for each in found)

    # -- end of a rollout ---------------------------------------------------------------------------------------------

    def _finish(self, endpoint: Document) -> None:
        rollout = endpoint["rollout"]
        updates = endpoint["EndpointStatus"] == "Updating"
        if updates and faults.take(self._twin, "rollback", endpoint=endpoint["EndpointName"]):
            self._keep_old(endpoint)
            endpoint.update(EndpointStatus="InService", LastModifiedTime=now())
            return
        region, _ = _place(endpoint)
        endpoint.pop("rollout")
        if "group" in rollout:
            fleet.keep_group(endpoint, rollout["group"])
            fleet.tell(self._twin, endpoint)
        endpoint.update(
            config=rollout["config"],
            variants=variants.fresh(self._twin, region, rollout["config"], rollout["retained"]),
            EndpointConfigName=rollout["config"]["EndpointConfigName"],
            EndpointStatus="InService",
            LastModifiedTime=now(),
        )
        endpoint.pop("LastDeploymentConfig", None)
        if rollout["deployment"]:
            endpoint["LastDeploymentConfig"] = rollout["deployment"]

    def _give_up(self, endpoint: Document, problem: str) -> None:
        endpoint["FailureReason"] = problem[:1024]
        endpoint["LastModifiedTime"] = now()
        obstacles.met(self._twin, problem, endpoint["rollout"]["config"])
        if endpoint["EndpointStatus"] == "Creating":
            endpoint.pop("rollout")
            endpoint["EndpointStatus"] = "Failed"
            fleet.keep_group(endpoint, None)
            fleet.tell(self._twin, endpoint)
            return
        endpoint["EndpointStatus"] = "RollingBack"
        rollout = endpoint["rollout"]
        rollout.update(steps=[{"status": "Deleting", "seconds": AWS_TRANSITION_SECONDS, "share": 0}], step=0)
        rollout["step_began"] = time.time()
        if "group" in rollout:
            fleet.share(endpoint, rollout["group"], 0)
            for old in fleet.others(endpoint, rollout["group"]):
                fleet.resize(old, fleet.counts(endpoint["variants"]))
            fleet.tell(self._twin, endpoint)

    def _advance_rollback(self, endpoint: Document) -> bool:
        rollout = endpoint["rollout"]
        old = fleet.others(endpoint, rollout.get("group", ""))
        progress = [self._twin.fleet.progress(endpoint["EndpointArn"], each["id"]) for each in old]
        if self._remaining(endpoint) > 0 or not all(each.complete or each.problem for each in progress):
            return False
        self._keep_old(endpoint)
        endpoint.update(EndpointStatus="InService", LastModifiedTime=now())
        if rollout["deployment"]:
            endpoint["LastDeploymentConfig"] = rollout["deployment"]
        return True

    def _keep_old(self, endpoint: Document) -> None:
        rollout = endpoint.pop("rollout")
        for old in fleet.others(endpoint, rollout.get("group", ""))[:1]:
            fleet.keep_group(endpoint, old["id"])
            fleet.tell(self._twin, endpoint)

    # -- containers ---------------------------------------------------------------------------------------------------

    def _start_containers(self, region: str, endpoint: Document) -> None:
        """Plans the instances of the new configuration once no known obstacle keeps them from serving."""
        rollout = endpoint["rollout"]
        if not fleet.runs(self._twin) or "group" in rollout or "unrunnable" in rollout:
            return
        config = rollout["config"]
        if obstacles.found(self._twin, region, endpoint) or obstacles.lacks_model(self._twin, region, config):
            return
        live = variants.fresh(self._twin, region, config, rollout["retained"])
        try:
            rollout["group"] = fleet.add_group(self._twin, region, endpoint, config, live)
        except AwsApiError as e:
            rollout["unrunnable"] = e.message
            return
        fleet.resize(endpoint["groups"][-1], fleet.counts(live), rollout["steps"][0].get("new", 100.0))
        fleet.tell(self._twin, endpoint)

    def _show_containers(self, endpoint: Document, step: Document) -> None:
        """Applies a step's traffic shares and instance counts to both groups."""
        rollout = endpoint["rollout"]
        if "group" not in rollout:
            return
        region, _ = _place(endpoint)
        live = variants.fresh(self._twin, region, rollout["config"], rollout["retained"])
        for group in endpoint["groups"]:
            new = group["id"] == rollout["group"]
            wanted = fleet.counts(live if new else endpoint["variants"])
            fleet.resize(group, wanted, step.get("new" if new else "old", 100.0))
        fleet.share(endpoint, rollout["group"], step["share"])
        fleet.tell(self._twin, endpoint)

    def _follow_settings(self, region: str, endpoint: Document) -> None:
        """Adds or removes the containers of a serving endpoint after a change of the setting `containers`."""
        if "rollout" in endpoint or endpoint["EndpointStatus"] != "InService":
            return
        if not fleet.runs(self._twin):
            if endpoint.pop("groups", None):
                fleet.tell(self._twin, endpoint)
        elif "groups" not in endpoint and not obstacles.lacks_model(self._twin, region, endpoint["config"]):
            endpoint["groups"] = []
            with suppress(AwsApiError):  # without containers, an endpoint that can't run here serves nothing
                group = fleet.add_group(self._twin, region, endpoint, endpoint["config"], endpoint["variants"])
                fleet.keep_group(endpoint, group)
            fleet.tell(self._twin, endpoint)

    def _complete(self, endpoint: Document, group: str) -> bool:
        return self._twin.fleet.progress(endpoint["EndpointArn"], group).complete

    # -- descriptions of a rollout ------------------------------------------------------------------------------------

    def _pending(self, endpoint: Document, retained: Mapping[str, Document]) -> Document:
        region, _ = _place(endpoint)
        config = endpoint["rollout"]["config"]
        new = variants.fresh(self._twin, region, config, retained)
        for variant in variants.all_of(config):
            live = new[variant["VariantName"]]
            live["VariantStatus"] = [{"Status": "Creating", "StartTime": now()}]
            if "InstanceType" in variant:
                live.update(InstanceType=variant["InstanceType"], CurrentInstanceCount=0)
        summary = {"EndpointConfigName": config["EndpointConfigName"], "StartTime": now()}
        summary["ProductionVariants"] = variants.summaries(config, new)
        if shadows := variants.deployed(config, new, "ShadowProductionVariants"):
            summary["ShadowProductionVariants"] = shadows
        return summary

    def _show_step(self, endpoint: Document) -> None:
        rollout = endpoint["rollout"]
        step = rollout["steps"][rollout["step"]]
        self._show_containers(endpoint, step)
        summary = rollout.get("shown", {}).get("PendingDeploymentSummary")
        for live in summary["ProductionVariants"] if summary else []:
            live["VariantStatus"] = [{"Status": step["status"], "StartTime": now()}]
            live["CurrentWeight"] = live["DesiredWeight"] * step["share"] / 100
            if "DesiredInstanceCount" in live:
                live["CurrentInstanceCount"] = live["DesiredInstanceCount"]


def _count_time(rollout: Document) -> None:
    """Adds the time since the last look to the duration of an update, except for time spent waiting for containers and
    time in which no twin ran.
    """
    since = time.time() - rollout.get("looked", time.time())
    rollout["looked"] = time.time()
    if not rollout.pop("waits", False):
        rollout["lasted"] = rollout.get("lasted", 0.0) + min(since, _LONGEST_LOOK_SECONDS)


def _place(endpoint: Document) -> tuple[str, str]:
    arn = endpoint["EndpointArn"]
    return arn.split(":")[3], arn
