"""Yields lines from CloudWatch Logs: an endpoint's, and a run's live ones, with its jobs' transitions and its cost.

https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_GetLogEvents.html
"""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

from llmops_kit.cli.machines.prices import Prices
from llmops_kit.cli.platforms.aws.clients import AwsClients
from llmops_kit.cli.platforms.aws.job_states import bill, cost, has_ended, story
from llmops_kit.cli.platforms.cloud_runs import Job
from llmops_kit.cli.terminal.progress import parse
from llmops_kit.clouds.aws.errors import explained, find, is_missing
from llmops_kit.clouds.aws.names import JOB_LOGS, endpoint_logs
from llmops_kit.core.errors import KitError, RunError
from llmops_kit.core.expiry import utc_text

_POLL_SECONDS = 1.0
_ENDPOINT_POLL_SECONDS = 2.0
_LATE_MS = 60_000  # maximum delay between a line's timestamp and its arrival
_SHOWN_SECONDS = 120  # a new job may not be listed for this long
_FIRST = "algo-1"
Line = tuple[float, str]  # its time in seconds, and its text


def follow_jobs(clients: AwsClients, look: Callable[[], list[Job]], prices: Prices, known: int = 0) -> Iterator[str]:
    """Yields the lines of a run's jobs from the first, and new ones as they come, until the last job has ended.

    Progress lines get the run's cost at that time. Lines of nodes other than the first begin with the node's name.

    Args:
        clients: of the stack's account.
        look: describes the run's jobs, oldest first.
        prices: of the region.
        known: number of jobs that were already reported.

    Raises:
        RunError: the run has no (further) job.
    """
    count = len(_wait_for_job(look, known))
    for number in range(known, count):
        lines = _JobLines(clients)
        live = False
        while True:
            jobs = look()[: number + 1]
            yield from lines.new(jobs, prices)
            if has_ended(jobs[-1]):
                break
            live = True
            time.sleep(_POLL_SECONDS)
        if live:
            time.sleep(_POLL_SECONDS)  # the last lines come late
            yield from lines.new(look()[: number + 1], prices)
    if said := bill(look(), prices):
        yield said


def _wait_for_job(look: Callable[[], list[Job]], known: int) -> list[Job]:
    deadline = time.monotonic() + _SHOWN_SECONDS
    while len(jobs := look()) <= known:
        if time.monotonic() > deadline:
            raise RunError("SageMaker has no job of this run", fix="`llmops train --resume RUN` starts one")
        time.sleep(_POLL_SECONDS)
    return jobs


class _JobLines:
    """One job's lines that were not reported yet."""

    def __init__(self, clients: AwsClients) -> None:
        self._logs = clients("logs")
        self._tokens: dict[str, str] = {}
        self._told = 0

    def new(self, jobs: list[Job], prices: Prices) -> Iterator[str]:
        """Yields new lines and transitions in the order of their time."""
        job = jobs[-1]
        happened = [(t["StartTime"].timestamp(), "") for t in job.get("SecondaryStatusTransitions", [])[self._told :]]
        told = [(moment, text) for (moment, _), text in zip(happened, story(job, self._told), strict=True)]
        self._told += len(told)
        printed = [
            (moment, text if host == _FIRST else f"{host}: {text}")
            for host, stream in self._streams(job["TrainingJobName"])
            for moment, text in self._events(stream)
        ]
        for moment, text in sorted([*told, *printed], key=lambda line: line[0]):
            yield _with_cost(text, moment, jobs, prices)

    def _streams(self, job: str) -> list[tuple[str, str]]:
        """Returns (node, log stream) of each node, and of each of its starts."""
        with explained(JOB_LOGS):
            pages = self._logs.get_paginator("describe_log_streams")
            found = find(pages.paginate(logGroupName=JOB_LOGS, logStreamNamePrefix=f"{job}/").build_full_result)
        # The group is missing until a job of this account has printed something.
        names = [stream["logStreamName"] for stream in (found or {}).get("logStreams", [])]
        return [(name.rpartition("/")[2].rpartition("-")[0], name) for name in names]

    def _events(self, stream: str) -> Iterator[Line]:
        while True:
            token = self._tokens.get(stream)
            given: dict[str, Any] = {"nextToken": token} if token else {}
            with explained(f"{JOB_LOGS}/{stream}"):
                page = self._logs.get_log_events(
                    logGroupName=JOB_LOGS, logStreamName=stream, startFromHead=True, **given
                )
            self._tokens[stream] = page["nextForwardToken"]
            for event in page["events"]:
                yield event["timestamp"] / 1000, event["message"].rstrip("\n")
            if page["nextForwardToken"] == token or not page["events"]:
                return


def _with_cost(text: str, moment: float, jobs: list[Job], prices: Prices) -> str:
    """Returns a progress line with the run's cost when it was printed."""
    job = jobs[-1]
    if "step" not in parse(text) or not (began := job.get("TrainingStartTime")):
        return text
    running = {
        **{k: job[k] for k in ("ResourceConfig",)},
        "TrainingStartTime": began,
        "TrainingEndTime": datetime.fromtimestamp(moment, UTC),
    }
    usd = cost([*jobs[:-1], running], prices)
    return text if usd is None else f"{text} usd={usd:.4f}"


def read_logs(clients: AwsClients, endpoint: str, follow: bool) -> Iterator[str]:
    """Yields the lines of every instance in the order of their time; with `follow`, also new ones.

    https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_FilterLogEvents.html

    Raises:
        KitError: there is no log group: the endpoint never started a container.
    """
    group = endpoint_logs(endpoint)
    seen: set[str] = set()
    newest = 0
    while True:
        for event in _endpoint_events(clients, group, max(0, newest - _LATE_MS)):
            if event["eventId"] not in seen:
                seen.add(event["eventId"])
                newest = max(newest, event["timestamp"])
                yield _line(event)
        if not follow:
            return
        time.sleep(_ENDPOINT_POLL_SECONDS)


def _endpoint_events(clients: AwsClients, group: str, since: int) -> Iterator[dict[str, Any]]:
    with explained(group):
        try:
            pages = clients("logs").get_paginator("filter_log_events").paginate(logGroupName=group, startTime=since)
            for page in pages:
                yield from page["events"]
        except ClientError as e:
            if not is_missing(e):
                raise
            raise KitError("there are no lines", where=group, fix="`llmops up` creates the endpoint's log group") from e


def _line(event: dict[str, Any]) -> str:
    when = utc_text(event["timestamp"] / 1000)
    instance = event.get("logStreamName", "").rpartition("/")[2][-8:]
    return f"{when} {instance} {event['message'].rstrip()}"
