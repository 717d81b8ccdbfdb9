"""A training job's output: CloudWatch Logs line by line, and the metrics that its definitions find in the lines.

https://docs.aws.amazon.com/sagemaker/latest/dg/define-train-metrics.html
"""

import re
import threading
import time
from collections import defaultdict

from llmops_kit.local_runtime.job_containers import Said
from llmops_twins.aws.service_documents import Document, now
from llmops_twins.aws.services.cloudwatch import cloudwatch
from llmops_twins.aws.services.logs import logs
from llmops_twins.aws.twin import AccountTwin

GROUP = "/aws/sagemaker/TrainingJobs"
NAMESPACE = "/aws/sagemaker/TrainingJobs"


class AttemptLog:
    """Collects the lines of one attempt on the containers' threads; `flush` writes them."""

    def __init__(self, twin: AccountTwin, region: str, job: Document) -> None:
        self._twin = twin
        self._region = region
        self._name = job["TrainingJobName"]
        self._began = int(time.time())
        definitions = job["AlgorithmSpecification"].get("MetricDefinitions", [])
        self._metrics = [(each["Name"], re.compile(each["Regex"])) for each in definitions]
        self._lock = threading.Lock()
        self._lines: dict[str, list[str]] = defaultdict(list)
        self._values: list[tuple[str, float, float]] = []

    def of(self, host: str) -> Said:
        """Returns the function that takes the lines of one container."""
        return lambda lines: self._take(host, lines)

    def flush(self, job: Document) -> None:
        """Writes the lines collected since the last time; with the twin's lock held."""
        with self._lock:
            lines, self._lines = self._lines, defaultdict(list)
            values, self._values = self._values, []
        for host, said in lines.items():
            logs.put_events(self._twin, self._region, GROUP, f"{self._name}/{host}-{self._began}", said)
        last = {each["MetricName"]: each for each in job.get("FinalMetricDataList", [])}
        for name, value, when in values:
            metric = cloudwatch.CloudWatchMetric(NAMESPACE, name, (("TrainingJobName", self._name),))
            cloudwatch.put(self._twin, self._region, metric, value, when=when)
            last[name] = {"MetricName": name, "Value": value, "Timestamp": when}
        if values:
            job["FinalMetricDataList"] = list(last.values())

    def _take(self, host: str, lines: list[str]) -> None:
        values = [
            (name, value, now())
            for line in lines
            for name, regex in self._metrics
            if (value := _value(regex, line)) is not None
        ]
        with self._lock:
            self._lines[host] += [line for line in lines if line]
            self._values += values


def _value(regex: re.Pattern[str], line: str) -> float | None:
    match = regex.search(line)
    if not match or not match.groups():
        return None
    try:
        return float(match[1])
    except (TypeError, ValueError):
        return None
