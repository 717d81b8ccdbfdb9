"""Runs deployments and jobs (`Running`), each with its containers on this machine."""

from collections.abc import Mapping

from llmops_twins.azure.ml.endpoints import TYPE as ENDPOINTS
from llmops_twins.azure.ml.running import history
from llmops_twins.azure.ml.running.deployments import Deployments
from llmops_twins.azure.ml.running.job_threads import CommandJobs
from llmops_twins.azure.ml.running.reports import NothingRuns
from llmops_twins.azure.ml.running.scoring import Scoring
from llmops_twins.azure.monitor.alerts import AlertRules
from llmops_twins.azure.monitor.autoscale import Autoscale
from llmops_twins.azure.monitor.insights import Insights
from llmops_twins.azure.monitor.log_query import LogQuery
from llmops_twins.azure.protocol.calls import Document
from llmops_twins.azure.protocol.ids import key
from llmops_twins.azure.telemetry import lines
from llmops_twins.azure.telemetry.metering import RequestMeter
from llmops_twins.azure.twin import TenantTwin
from llmops_twins.core.exchanges import Containers

UNJUDGED = [
    "Azure ML: 500 requests a second, 500 connections and 5 MB a second of an endpoint",
    "Azure Monitor: metrics of machines (such as CpuUtilizationPercentage), and lists of metrics",
    "Azure Monitor: the query language beyond what the stack's alerts use",
    "Azure Monitor: failing periods of log alerts, autoscale profiles for certain days; alerts send no notifications",
]


class Runner:
    """Runs deployments and jobs. If `containers` is "none", documents change their states and nothing runs."""

    def __init__(self, twin: TenantTwin) -> None:
        self._twin = twin
        self._nothing = NothingRuns(twin)
        self.meter = RequestMeter(twin)
        self.deployments = Deployments(twin)
        insights = Insights(twin, self.meter)
        Autoscale(twin, insights)
        AlertRules(twin, insights, self.meter)
        LogQuery(twin, self.meter)
        self.jobs = CommandJobs(twin)
        self._containers = Containers()
        self._urls: dict[str, str] = {}
        self._resumed = False
        twin.closers.append(self._containers.close)
        twin.resumers.append(self.resume)
        twin.instances = self.deployments.fleet.describe
        history.install(twin)
        twin.unjudged += UNJUDGED

    def resume(self) -> None:
        """Adopts what the last process left running; called once, when the state was loaded. Does not wait."""
        if self._resumed:  # called again after a restore, and snapshots contain nothing that runs
            return
        self._resumed = True
        with self._twin.lock:
            self.deployments.resume(runs=self._runs())
            self.jobs.resume()
            for endpoint in self._twin.children(f"/subscriptions/{self._twin.subscription}", ENDPOINTS):
                self.scoring_url(endpoint["id"])

    def deployment_wanted(self, document: Document) -> None:
        """See Running."""
        if self._runs():
            self.deployments.wanted(document)
        else:
            self._nothing.deployment_wanted(document)

    def deployment_gone(self, deployment_id: str) -> None:
        """See Running."""
        self.deployments.gone(deployment_id)

    def endpoint_changed(self, document: Document) -> None:
        """Ensures that the endpoint has a host. Traffic, mirror, keys and authentication are read for each request."""
        self.scoring_url(document["id"])

    def endpoint_gone(self, endpoint_id: str) -> None:
        """Stops the endpoint's host."""
        self._urls.pop(key(endpoint_id), None)
        self.meter.forget(endpoint_id)
        self._twin.end_data_plane(_plane(endpoint_id))

    def job_started(self, document: Document) -> None:
        """See Running."""
        if self._runs():
            self.jobs.started(document)
        else:
            self._nothing.job_started(document)

    def job_cancelled(self, job_id: str) -> None:
        """See Running."""
        if not self.jobs.cancelled(job_id):
            self._nothing.job_cancelled(job_id)

    def deployment_logs(self, deployment_id: str, container: str, tail: int) -> str:
        """See Running."""
        endpoint_id, _, name = deployment_id.rpartition("/deployments/")
        return "\n".join(lines.of(self._twin, endpoint_id, name, container)[-tail:])

    def scoring_url(self, endpoint_id: str) -> str:
        """See Running."""
        if key(endpoint_id) not in self._urls:
            scoring = Scoring(self._twin, endpoint_id, self.deployments, self._containers, self.meter)
            self._urls[key(endpoint_id)] = self._twin.data_plane(_plane(endpoint_id), scoring)
        return self._urls[key(endpoint_id)]

    def node_states(self, compute_id: str) -> Mapping[str, int]:
        """See Running."""
        return self.jobs.node_states(compute_id)

    def _runs(self) -> bool:
        return self._twin.settings.containers == "run"


def _plane(endpoint_id: str) -> str:
    return f"scoring {key(endpoint_id)}"
