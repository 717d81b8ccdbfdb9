"""What becomes of an endpoint in time: it is created or updated step by step, bakes, is rolled back, or fails.

The state machine is in the endpoint's document (`rollout`), so that a restart, or another pace, goes on from there.
"""

import copy
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress

from twins.aws import faults
from twins.aws.calls import ApiError
from twins.aws.services import sagemaker_access as access
from twins.aws.services import sagemaker_documents as store
from twins.aws.services import sagemaker_fleet as fleet
from twins.aws.services import sagemaker_guardrails as guardrails
from twins.aws.services import sagemaker_images as images
from twins.aws.services import sagemaker_variants as variants
from twins.aws.services.documents import Document, now, regions
from twins.aws.services.sagemaker_documents import ENDPOINT, MODEL
from twins.aws.twin import AWS_TRANSITION_SECONDS, Twin

MODEL_MISSING_SECONDS = 3600
"""How long AWS looks for a model that is gone before the endpoint fails, about."""
_NO_CAPACITY = (
    "Unable to provision requested ML compute capacity due to InsufficientInstanceCapacity error. "
    "Please retry using a different ML instance type or after some time."
)
_LOOK_SECONDS = 0.1
# A twin whose transitions take no time still needs some for its own work: for an update, and to see an alarm.
_SHORTEST_TIMEOUT_SECONDS = 1.0
_SHORTEST_BAKE_SECONDS = 0.5


class Rollout:
    """Moves endpoints from one configuration to the next."""

    def __init__(self, twin: Twin) -> None:
        self._twin = twin
        twin.every(_LOOK_SECONDS, self._look)
        twin.action("sagemaker.scale", self._scaled)

    def begin(
        self, endpoint: Document, config: Document, deployment: Document | None, retained: Mapping[str, Document]
    ) -> None:
        """Start to bring an endpoint to a configuration, from nothing or from the one that serves."""
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
        """Change weights and instance counts of variants, which takes a transition's time, and that of containers."""
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
            self._meet_capacity(problem, endpoint["config"])
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
        """Why more instances can't be had; empty when they can."""
        for name, before in endpoint.get("scaling", {}).items():
            more = endpoint["variants"][name].get("DesiredInstanceCount", 0) > before.get("DesiredInstanceCount", 0)
            for variant in endpoint["config"]["ProductionVariants"]:
                if more and variant["VariantName"] == name and (problem := self._no_capacity(variant)):
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
        """Do what is due next; False when nothing is."""
        rollout = endpoint["rollout"]
        if endpoint["EndpointStatus"] == "RollingBack":
            return self._advance_rollback(endpoint)
        self._start_containers(region, endpoint)
        if problem := self._interruption(region, endpoint):
            self._give_up(endpoint, problem)
        elif self._remaining(endpoint) > 0:
            return False
        elif self._waits_for_container(region, endpoint):
            rollout["waited"] = rollout.get("waited", 0.0) + _LOOK_SECONDS
            return False
        elif rollout["step"] + 1 < len(rollout["steps"]):
            rollout.update(step=rollout["step"] + 1, step_began=time.time())
            self._show_step(endpoint)
        else:
            self._finish(endpoint)
        return True

    # -- what stops a rollout -----------------------------------------------------------------------------------------

    def _interruption(self, region: str, endpoint: Document) -> str:
        """Why a rollout can't go on; empty when it can."""
        rollout = endpoint["rollout"]
        lasted = time.time() - rollout["began"] - rollout.get("waited", 0.0)  # a container takes its real time
        updates = endpoint["EndpointStatus"] == "Updating"
        longest = self._twin.scaled(guardrails.timeout(rollout["deployment"]))
        if updates and lasted > max(longest, _SHORTEST_TIMEOUT_SECONDS):
            return "The deployment did not complete within MaximumExecutionTimeoutInSeconds."
        if updates and (ringing := guardrails.ringing(self._twin, region, rollout["deployment"])):
            return f"One or more configured alarms for the deployment went into ALARM state: {', '.join(ringing)}."
        if "group" in rollout:
            return self._twin.fleet.progress(endpoint["EndpointArn"], rollout["group"]).problem
        if rollout["step"] == 0 and self._remaining(endpoint) <= 0:
            return self._problem(region, endpoint) or rollout.get("unrunnable", "")
        return ""

    def _problem(self, region: str, endpoint: Document) -> str:
        """Why a configuration can't serve, found out when its instances are there; empty when it can."""
        config = endpoint["rollout"]["config"]
        lasted = time.time() - endpoint["rollout"]["began"]
        for variant in variants.all_of(config):
            name = variant["VariantName"]
            if problem := self._no_capacity(variant):
                return problem
            found = variants.containers(self._twin, region, variant)
            if found is None:
                if lasted > self._twin.scaled(MODEL_MISSING_SECONDS):
                    return f'Could not find model "{store.arn_of(self._twin, MODEL, region, variant["ModelName"])}".'
                continue
            if problem := self._problem_of_containers(region, endpoint, variant, found):
                return problem
            if not fleet.runs(self._twin) and self._is_silent(found) and lasted > self._twin.scaled(_patience(variant)):
                return (
                    f"The primary container for production variant {name} did not pass the ping health check. "
                    "Please check CloudWatch logs for this endpoint."
                )
        return ""

    def _no_capacity(self, variant: Document) -> str:
        lacks = faults.find(self._twin, "capacity", instance_type=variant.get("InstanceType", ""))
        return _NO_CAPACITY if lacks else ""

    def _meet_capacity(self, problem: str, config: Document) -> None:
        for variant in variants.all_of(config):
            if problem == _NO_CAPACITY and self._no_capacity(variant):
                faults.take(self._twin, "capacity", instance_type=variant.get("InstanceType", ""))
                return

    def _problem_of_containers(self, region: str, endpoint: Document, variant: Document, found: list[Document]) -> str:
        twin, rollout = self._twin, endpoint["rollout"]
        model = store.lookup(twin, MODEL, region, variant.get("ModelName", "")) or {}
        name, config = endpoint["EndpointName"], rollout["config"]
        if reason := access.denied_endpoint(twin, name, config, model, rollout["deployment"]):
            return reason
        for container in found:
            image = container.get("Image", "")
            if not images.is_there(twin, image):
                return f"Requested image {image} not found."
            for uri in _model_data(container):
                if not images.has_data(twin, uri):
                    role = model.get("ExecutionRoleArn", "")
                    return (
                        f'Could not find model data at {uri}. Please ensure that the role "{role}" exists and that its '
                        f'trust relationship policy allows the action "sts:AssumeRole" for the service principal '
                        f'"sagemaker.amazonaws.com". Also ensure that the role has "s3:GetObject" permissions and '
                        f"that the object is located in {region}."
                    )
        return ""

    def _waits_for_container(self, region: str, endpoint: Document) -> bool:
        """Is there a container that does not answer, or a model that is not there, in its time?"""
        rollout = endpoint["rollout"]
        config = rollout["config"]
        if fleet.runs(self._twin):
            return "group" not in rollout or not self._complete(endpoint, rollout["group"])
        if rollout["step"] > 0:
            return False
        found = [variants.containers(self._twin, region, variant) for variant in variants.all_of(config)]
        return any(each is None or self._is_silent(each) for each in found)

    def _is_silent(self, containers: list[Document]) -> bool:
        return any(faults.find(self._twin, "silent", image=each.get("Image", "")) for each in containers)

    # -- how a rollout ends -------------------------------------------------------------------------------------------

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
        self._meet_capacity(problem, endpoint["rollout"]["config"])
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
        """Start the instances of a configuration as soon as nothing is known that keeps them from serving."""
        rollout = endpoint["rollout"]
        if not fleet.runs(self._twin) or "group" in rollout or "unrunnable" in rollout:
            return
        config = rollout["config"]
        if self._problem(region, endpoint) or self._lacks_model(region, config):
            return
        live = variants.fresh(self._twin, region, config, rollout["retained"])
        try:
            rollout["group"] = fleet.add_group(self._twin, region, endpoint, config, live)
        except ApiError as e:
            rollout["unrunnable"] = e.message
            return
        fleet.resize(endpoint["groups"][-1], fleet.counts(live), rollout["steps"][0].get("new", 100.0))
        fleet.tell(self._twin, endpoint)

    def _show_containers(self, endpoint: Document, step: Document) -> None:
        """Give both groups the traffic and the instances that a step gives them."""
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
        """Give an endpoint containers, or none, when the twin was told so while it served."""
        if "rollout" in endpoint or endpoint["EndpointStatus"] != "InService":
            return
        if not fleet.runs(self._twin):
            if endpoint.pop("groups", None):
                fleet.tell(self._twin, endpoint)
        elif "groups" not in endpoint and not self._lacks_model(region, endpoint["config"]):
            endpoint["groups"] = []
            with suppress(ApiError):  # one that can't run here serves nothing
                group = fleet.add_group(self._twin, region, endpoint, endpoint["config"], endpoint["variants"])
                fleet.keep_group(endpoint, group)
            fleet.tell(self._twin, endpoint)

    def _lacks_model(self, region: str, config: Document) -> bool:
        return any(variants.containers(self._twin, region, each) is None for each in variants.all_of(config))

    def _complete(self, endpoint: Document, group: str) -> bool:
        return self._twin.fleet.progress(endpoint["EndpointArn"], group).complete

    # -- what is shown meanwhile --------------------------------------------------------------------------------------

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


def _place(endpoint: Document) -> tuple[str, str]:
    arn = endpoint["EndpointArn"]
    return arn.split(":")[3], arn


def _patience(variant: Document) -> float:
    """Seconds on AWS until a container that never answers fails its endpoint."""
    longest = variant.get("ContainerStartupHealthCheckTimeoutInSeconds", fleet.HEALTH_CHECK_SECONDS)
    return AWS_TRANSITION_SECONDS + longest


def _model_data(container: Document) -> list[str]:
    source = container.get("ModelDataSource", {}).get("S3DataSource", {})
    found = [container.get("ModelDataUrl"), source.get("S3Uri")]
    additional = container.get("AdditionalModelDataSources", [])
    found += [each.get("S3DataSource", {}).get("S3Uri") for each in additional]
    return [uri for uri in found if uri]
