"""An endpoint's lines, from CloudWatch Logs."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

from clouds.aws.errors import explained, is_missing
from clouds.aws.names import endpoint_logs
from contract.errors import KitError
from llmops.platforms.aws.clients import AwsClients

_POLL_SECONDS = 2.0
_LATE_MS = 60_000  # lines may arrive that much later than they are dated


def read_logs(clients: AwsClients, endpoint: str, follow: bool) -> Iterator[str]:
    """Lines of every instance, in the order of their time; with `follow`, the ones to come as well.

    https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_FilterLogEvents.html

    Raises:
        KitError: there is no log group: the endpoint never started a container.
    """
    group = endpoint_logs(endpoint)
    seen: set[str] = set()
    newest = 0
    while True:
        for event in _events(clients, group, max(0, newest - _LATE_MS)):
            if event["eventId"] not in seen:
                seen.add(event["eventId"])
                newest = max(newest, event["timestamp"])
                yield _line(event)
        if not follow:
            return
        time.sleep(_POLL_SECONDS)


def _events(clients: AwsClients, group: str, since: int) -> Iterator[dict[str, Any]]:
    with explained(group):
        try:
            pages = clients("logs").get_paginator("filter_log_events").paginate(logGroupName=group, startTime=since)
            for page in pages:
                yield from page["events"]
        except ClientError as e:
            if not is_missing(e):
                raise
            raise KitError("there are no lines", where=group, fix="`llmops up` makes the endpoint's log group") from e


def _line(event: dict[str, Any]) -> str:
    when = datetime.fromtimestamp(event["timestamp"] / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    instance = event.get("logStreamName", "").rpartition("/")[2][-8:]
    return f"{when} {instance} {event['message'].rstrip()}"
