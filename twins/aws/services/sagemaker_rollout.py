"""What becomes of an endpoint in time: it is created or updated step by step, bakes, is rolled back, or fails.

The state machine is in the endpoint's document (`rollout`), so that a restart, or another pace, goes on from there.
"""

import copy
import time
from collections.abc import Iterable, Mapping

from twins.aws import faults
from twins.aws.services import sagemaker_access as access
from twins.aws.services import sagemaker_documents as store
from twins.aws.services import sagemaker_guardrails as guardrails
from twins.aws.services import sagemaker_images as images
from twins.aws.services import sagemaker_variants as variants
from twins.aws.services.documents import Document, now, regions
from twins.aws.services.sagemaker_documents import ENDPOINT, MODEL
from twins.aws.twin import AWS_TRANSITION_SECONDS, Twin

MODEL_MISSING_SECONDS = 3600
"""How long AWS looks for a model that is gone before the endpoint fails, about."""
HEALTH_CHECK_SECONDS = 240
"""How long a container may take to answer /ping, where the variant does not say."""
_LOOK_SECONDS = 0.1
_SHORTEST_TIMEOUT_SECONDS = 1.0  # a twin whose transitions take no time still needs some for its own work


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
        """Change weights and instance counts of variants, which takes a transition's time."""
        for each in desired:
            live = endpoint["variants"][each["VariantName"]]
            live.update({name: each[name] for name in ("DesiredWeight", "DesiredInstanceCount") if name in each})
            if serverless := each.get("ServerlessUpdateConfig"):
                live["DesiredServerlessConfig"] = live.get("DesiredServerlessConfig", {}) | serverless
        endpoint.update(EndpointStatus="Updating", LastModifiedTime=now())
        self._twin.later(self._twin.settings.pace, "sagemaker.scale", *_place(endpoint))

    def _scaled(self, region: str, arn: str) -> None:
        endpoint = store.documents(self._twin, ENDPOINT, region).get(arn)
        if endpoint is None or endpoint["EndpointStatus"] != "Updating" or "rollout" in endpoint:
            return
        for live in endpoint["variants"].values():
            for name in ("Weight", "InstanceCount", "ServerlessConfig"):
                if f"Desired{name}" in live:
                    live[f"Current{name}"] = live[f"Desired{name}"]
        endpoint.update(EndpointStatus="InService", LastModifiedTime=now())
        self._twin.changed()

    def _look(self) -> None:
        for region in regions(self._twin, store.SERVICE):
            for endpoint in list(store.documents(self._twin, ENDPOINT, region).values()):
                while "rollout" in endpoint and self._advance(region, endpoint):
                    self._twin.changed()

    def _remaining(self, endpoint: Document) -> float:
        rollout = endpoint["rollout"]
        step = rollout["steps"][rollout["step"]]
        return rollout["step_began"] + self._twin.scaled(step["seconds"]) - time.time()

    def _advance(self, region: str, endpoint: Document) -> bool:
        """Do what is due next; False when nothing is."""
        rollout = endpoint["rollout"]
        if endpoint["EndpointStatus"] == "RollingBack":
            return self._advance_rollback(endpoint)
        if problem := self._interruption(region, endpoint):
            self._give_up(endpoint, problem)
        elif self._remaining(endpoint) > 0 or self._waits_for_container(region, endpoint):
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
        lasted = time.time() - rollout["began"]
        updates = endpoint["EndpointStatus"] == "Updating"
        longest = self._twin.scaled(guardrails.timeout(rollout["deployment"]))
        if updates and lasted > max(longest, _SHORTEST_TIMEOUT_SECONDS):
            return "The deployment did not complete within MaximumExecutionTimeoutInSeconds."
        if updates and (ringing := guardrails.ringing(self._twin, region, rollout["deployment"])):
            return f"One or more configured alarms for the deployment went into ALARM state: {', '.join(ringing)}."
        if rollout["step"] == 0 and self._remaining(endpoint) <= 0:
            return self._problem(region, endpoint)
        return ""

    def _problem(self, region: str, endpoint: Document) -> str:
        """Why a configuration can't serve, found out when its instances are there; empty when it can."""
        config = endpoint["rollout"]["config"]
        lasted = time.time() - endpoint["rollout"]["began"]
        for variant in variants.all_of(config):
            name = variant["VariantName"]
            if faults.find(self._twin, "capacity", instance_type=variant.get("InstanceType", "")):
                return (
                    "Unable to provision requested ML compute capacity due to InsufficientInstanceCapacity error. "
                    "Please retry using a different ML instance type or after some time."
                )
            found = variants.containers(self._twin, region, variant)
            if found is None:
                if lasted > self._twin.scaled(MODEL_MISSING_SECONDS):
                    return f'Could not find model "{store.arn_of(self._twin, MODEL, region, variant["ModelName"])}".'
                continue
            if problem := self._problem_of_containers(region, endpoint, variant, found):
                return problem
            if self._is_silent(found) and lasted > self._twin.scaled(_patience(variant)):
                return (
                    f"The primary container for production variant {name} did not pass the ping health check. "
                    "Please check CloudWatch logs for this endpoint."
                )
        return ""

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
        config = endpoint["rollout"]["config"]
        if endpoint["rollout"]["step"] > 0:
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
            endpoint.pop("rollout")
            endpoint.update(EndpointStatus="InService", LastModifiedTime=now())
            return
        region, _ = _place(endpoint)
        endpoint.pop("rollout")
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
        if endpoint["EndpointStatus"] == "Creating":
            endpoint.pop("rollout")
            endpoint["EndpointStatus"] = "Failed"
            return
        endpoint["EndpointStatus"] = "RollingBack"
        rollout = endpoint["rollout"]
        rollout.update(steps=[{"status": "Deleting", "seconds": AWS_TRANSITION_SECONDS, "share": 0}], step=0)
        rollout["step_began"] = time.time()

    def _advance_rollback(self, endpoint: Document) -> bool:
        if self._remaining(endpoint) > 0:
            return False
        rollout = endpoint.pop("rollout")
        endpoint.update(EndpointStatus="InService", LastModifiedTime=now())
        if rollout["deployment"]:
            endpoint["LastDeploymentConfig"] = rollout["deployment"]
        return True

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
    return AWS_TRANSITION_SECONDS + variant.get("ContainerStartupHealthCheckTimeoutInSeconds", HEALTH_CHECK_SECONDS)


def _model_data(container: Document) -> list[str]:
    source = container.get("ModelDataSource", {}).get("S3DataSource", {})
    found = [container.get("ModelDataUrl"), source.get("S3Uri")]
    additional = container.get("AdditionalModelDataSources", [])
    found += [each.get("S3DataSource", {}).get("S3Uri") for each in additional]
    return [uri for uri in found if uri]
