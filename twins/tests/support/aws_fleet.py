"""Endpoints whose containers run, and clients that ask them meanwhile."""

import threading
import time
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from twins.tests.support.aws import RunningTwin, await_status


@dataclass
class Cloud:
    """A twin that runs containers, and what makes endpoints there."""

    twin: RunningTwin
    image: str
    role: str
    made: int = 0
    endpoints: set[str] = field(default_factory=set)

    @property
    def sagemaker(self) -> Any:
        return self.twin.client("sagemaker")

    def model(self, image: str = "", data: dict[str, Any] | None = None, /, **environ: str) -> str:
        """The name of a new model of the echo image with these variables."""
        self.made += 1
        container = {"Image": image or self.image, "Environment": environ, **(data or {})}
        self.sagemaker.create_model(
            ModelName=f"model-{self.made}", ExecutionRoleArn=self.role, PrimaryContainer=container
        )
        return f"model-{self.made}"

    def config(self, *variants: dict[str, Any]) -> str:
        """The name of a new configuration."""
        self.made += 1
        defaults = {"VariantName": "main", "InstanceType": "ml.m5.xlarge", "InitialInstanceCount": 1}
        self.sagemaker.create_endpoint_config(
            EndpointConfigName=f"config-{self.made}", ProductionVariants=[defaults | each for each in variants]
        )
        return f"config-{self.made}"

    def of_version(self, version: str, count: int = 1, **environ: str) -> str:
        """A configuration with one variant whose containers answer with a version."""
        return self.config({"ModelName": self.model(**{"VERSION": version, **environ}), "InitialInstanceCount": count})

    def create(self, name: str, config: str) -> dict[str, Any]:
        """Create an endpoint and wait for its end."""
        self.endpoints.add(name)
        self.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=config)
        return await_status(self.twin, name, "InService", "Failed")

    def update(self, name: str, config: str, **deployment: Any) -> dict[str, Any]:
        """Update an endpoint and wait for its end."""
        more = {"DeploymentConfig": deployment} if deployment else {}
        self.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=config, **more)
        return await_status(self.twin, name, "InService", "Failed")

    def ask(self, name: str, **more: Any) -> dict[str, Any]:
        """An answer, with its body as text."""
        answer = self.twin.client("sagemaker-runtime").invoke_endpoint(EndpointName=name, Body=b"version", **more)
        return {**answer, "text": answer["Body"].read().decode()}

    def pace(self, seconds: float) -> None:
        """Sets the seconds of a status transition; steps under way follow it too."""
        self.twin.ask("PUT", "settings", {"pace": seconds})

    def instances(self, name: str) -> list[dict[str, Any]]:
        """What the twin says of an endpoint's instances."""
        return [each for each in self.twin.ask("GET", "status")["instances"] if each["endpoint"] == name]

    def lines(self, name: str) -> list[str]:
        """All that an endpoint's containers wrote."""
        found = self.twin.client("logs").filter_log_events(logGroupName=f"/aws/sagemaker/Endpoints/{name}")
        return [event["message"] for event in found["events"]]

    def alarm(self, name: str, **metric: Any) -> dict[str, Any]:
        """AutoRollbackConfiguration with a new alarm: below 1 in the last period."""
        self.twin.client("cloudwatch").put_metric_alarm(
            AlarmName=name,
            ComparisonOperator="LessThanThreshold",
            Threshold=1.0,
            Statistic="Minimum",
            Period=60,
            EvaluationPeriods=1,
            TreatMissingData="notBreaching",
            **metric,
        )
        return {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": name}]}}


class Load:
    """Clients that ask one after the other, until `stop`."""

    def __init__(self, cloud: Cloud, name: str, clients: int = 3) -> None:
        self.answers: list[str] = []
        self.failures: list[str] = []
        self._cloud, self._name = cloud, name
        self._stopped = threading.Event()
        cloud.twin.client("sagemaker-runtime")
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    def saw(self, version: str, times: int = 5) -> bool:
        """Did so many answers come from a version?"""
        return self.answers.count(version) >= times

    def stop(self) -> None:
        """Let the requests under way end."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self.answers.append(self._cloud.ask(self._name)["text"])
            except ClientError as e:
                self.failures.append(str(e))
            time.sleep(0.005)


def blue_green(kind: str = "ALL_AT_ONCE", wait: int = 300, **more: Any) -> dict[str, Any]:
    routing = {"Type": kind, "WaitIntervalInSeconds": wait, **more}
    return {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing}}
