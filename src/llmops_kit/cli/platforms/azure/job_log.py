"""A run's live log: output of its nodes, states of its jobs on Azure ML, and cost."""

import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from urllib.parse import urlsplit

from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobClient

from llmops_kit.cli.machines.prices import Prices
from llmops_kit.cli.platforms.azure.job_states import DETAILS, bill, cost, has_ended, reason, status_of, words
from llmops_kit.cli.platforms.cloud_runs import POLL_SECONDS, Job
from llmops_kit.cli.terminal.progress import parse
from llmops_kit.clouds.azure.errors import error_code, explained
from llmops_kit.core.documents.outputs import AzureCompute
from llmops_kit.core.errors import RunError

# user_logs/std_log.txt of one node, user_logs/std_log_process_0.txt and so on of several.
_STDOUT = re.compile(r"user_logs/std_log\D*(?P<node>\d*)\D*\.txt")
# Storage's codes for a request without credentials: with anonymous access disallowed for the account, and without.
# https://learn.microsoft.com/azure/storage/blobs/anonymous-read-access-prevent
_ANONYMOUS = ("PublicAccessNotPermitted", "NoAuthenticationInformation")
# https://learn.microsoft.com/azure/storage/common/shared-key-authorization-prevent
_KEYS_DISABLED = "KeyBasedAuthenticationNotPermitted"
_SHOWN_SECONDS = 120  # seconds for which a new job may not be listed yet


def follow_jobs(
    look: Callable[[], list[Job]], clusters: dict[str, AzureCompute], prices: Prices, known: int = 0
) -> Iterator[str]:
    """Yields the lines of a run's jobs from the first, and new ones as they come, until the last job has ended.

    Progress lines get the run's cost at that time. Lines of nodes other than the first begin with the node's name.

    Args:
        look: describes the run's jobs, oldest first, with their run's details.
        clusters: of the stack, by name.
        prices: of the location.
        known: number of jobs that were already reported.

    Raises:
        RunError: the run has no (further) job.
    """
    count = len(_wait_for_job(look, known))
    for number in range(known, count):
        lines, status = _UnreadLines(), ""
        while True:
            jobs = look()[: number + 1]
            job = jobs[-1]
            ended = has_ended(job)
            # Lines are yielded after the state in which they were printed, and before the final state.
            if not ended and status_of(job) != status:
                yield _story(job)
            for text in lines.new(job, last=ended):
                yield _with_cost(text, jobs, clusters, prices)
            if ended:
                yield _story(job)
                break
            status = status_of(job)
            time.sleep(POLL_SECONDS)
    if said := bill(look(), clusters, prices):
        yield said


def _wait_for_job(look: Callable[[], list[Job]], known: int) -> list[Job]:
    deadline = time.monotonic() + _SHOWN_SECONDS
    while len(jobs := look()) <= known:
        if time.monotonic() > deadline:
            raise RunError("Azure ML has no job of this run", fix="`llmops train --resume RUN` starts one")
        time.sleep(POLL_SECONDS)
    return jobs


def _story(job: Job) -> str:
    status = status_of(job)
    said = f" ({reason(job).splitlines()[0]})" if status == "Failed" else ""
    return f"{datetime.now(UTC):%H:%M:%S} {words(status)}{said}"


class _UnreadLines:
    """A job's lines that were not printed yet."""

    def __init__(self) -> None:
        self._read: dict[str, int] = {}  # file -> number of bytes that were read
        self._rest: dict[str, bytes] = {}  # file -> start of an incomplete line
        self._closed: set[str] = set()  # files that can't be read, which was reported

    def new(self, job: Job, *, last: bool) -> Iterator[str]:
        """Yields new lines of every node's file; with `last`, also an incomplete line."""
        for name, url in sorted((job.get(DETAILS, {}).get("logFiles") or {}).items()):
            if found := _STDOUT.search(name):
                node = int(found["node"] or 0)
                for line in self._lines(name, url, last):
                    yield f"node-{node}: {line}" if node else line

    def _lines(self, name: str, url: str, last: bool) -> list[str]:
        content = self._rest.get(name, b"") + self._more(name, url)
        *whole, rest = content.split(b"\n")
        if last and rest:
            whole, rest = [*whole, rest], b""
        self._rest[name] = rest
        return [line.decode(errors="replace").rstrip("\r") for line in whole]

    def _more(self, name: str, url: str) -> bytes:
        offset = self._read.get(name, 0)
        with explained(name):
            try:
                found = BlobClient.from_blob_url(url).download_blob(offset=offset or None).readall()
            except HttpResponseError as e:
                if e.status_code in (404, 416) or error_code(e) == "InvalidRange":
                    return b""  # nothing was written yet, or nothing new
                if e.status_code != 403 and error_code(e) not in _ANONYMOUS:
                    raise
                # The job continues, and costs money, so its states are still followed.
                told = name in self._closed
                self._closed.add(name)
                return b"" if told else f"{name} can't be read: {_refusal(error_code(e), url)}\n".encode()
        self._read[name] = offset + len(found)
        return found


def _refusal(code: str, url: str) -> str:
    """Returns a message with storage's code, its cause, and what makes a job's log readable."""
    parts = urlsplit(url)
    container = parts.path.lstrip("/").partition("/")[0]
    reader = f"Storage Blob Data Reader on container {container}"
    if code in (*_ANONYMOUS, _KEYS_DISABLED):
        what = (
            "is signed with the account's key, and the account's keys are disabled"
            if code == _KEYS_DISABLED
            else "has no signature, and the account takes no anonymous requests"
        )
        fix = (
            f"with {reader}, `az storage blob download --auth-mode login --blob-url '{url.partition('?')[0]}' --file "
            "log.txt` reads it"
        )
        why = f"the link that Azure ML gave {what} ({parts.hostname}); {fix}"
    else:
        why = (
            f"reading requires {reader} of {parts.hostname}, and writing requires Storage Blob Data Contributor there "
            "for the jobs' identity"
        )
    return f"{code}; {why}; the job continues, and its states are shown"


def _with_cost(text: str, jobs: list[Job], clusters: dict[str, AzureCompute], prices: Prices) -> str:
    """Returns a progress line with the run's cost by now, or its final cost if its job has ended."""
    if "step" not in parse(text):
        return text
    usd = cost(jobs, clusters, prices)
    return text if usd is None else f"{text} usd={usd:.4f}"
