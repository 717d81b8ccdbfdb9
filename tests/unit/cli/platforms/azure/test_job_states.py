"""From Azure ML's description of jobs to a run's state, its lines and its cost."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError

from llmops_kit.cli.machines.prices import Prices
from llmops_kit.cli.platforms.azure import job_log
from llmops_kit.cli.platforms.azure.job_states import DETAILS, FAILURE, bill, cost, run_state
from llmops_kit.core.documents.outputs import AzureCompute
from llmops_kit.core.errors import KitError

CLUSTERS = {
    "cpu": AzureCompute(vm_size="Standard_DS3_v2"),
    "spot": AzureCompute(vm_size="Standard_DS3_v2", spot=True),
    "rare": AzureCompute(vm_size="Standard_ND96"),
}
STAMP = {"source": "s", "date": "d"}
PRICES = Prices(
    "westeurope",
    {
        "regions": {
            "westeurope": {
                "training": {**STAMP, "prices": {"Standard_DS3_v2": 0.36}},
                "spot": {**STAMP, "prices": {"Standard_DS3_v2": 0.072}},
            }
        }
    },
)


def job(status: str = "Completed", members: dict[str, Any] | None = None, *, cluster: str = "cpu") -> dict[str, Any]:
    """A job that ran for 100 seconds."""
    return {
        "name": "job-1",
        "systemData": {"createdAt": "2026-11-25T11:59:40.1234567Z"},
        "properties": {
            "status": status,
            "computeId": f"/subscriptions/s/computes/{cluster}",
            "resources": {"instanceCount": 2},
        },
        DETAILS: {"startTimeUtc": "2026-11-25T12:00:00.0000000Z", "endTimeUtc": "2026-11-25T12:01:40+00:00"},
        **(members or {}),
    }


@pytest.mark.parametrize(
    ("described", "status", "failure"),
    [
        (job(), "completed", ""),
        (job("Failed", {FAILURE: "DataError: no luck\n"}), "failed", "DataError: no luck"),
        (
            job("Failed", {DETAILS: {"error": {"error": {"message": "User process exited"}}}}),
            "failed",
            "User process",
        ),
        (job("Failed", {DETAILS: {}}), "failed", "Azure gives no reason"),
        (job("NotResponding"), "failed", "Azure gives no reason"),
        (job("Canceled"), "stopped", ""),
        (job("Queued"), "running", ""),
        (job("CancelRequested"), "running", ""),
    ],
)
def test_a_runs_state_is_that_of_its_last_job(described: dict[str, Any], status: str, failure: str) -> None:
    state = run_state("r-1", [job("Failed", {FAILURE: "before"}), described], CLUSTERS, PRICES)
    assert state.status == status
    assert state.failure.startswith(failure)
    assert bool(state.failure) == bool(failure)
    assert state.started == "2026-11-25T11:59:40Z"
    assert (state.ended != "") == (status != "running" and described[DETAILS].get("endTimeUtc") is not None)


def test_a_run_without_a_job_was_never_started() -> None:
    assert run_state("r-1", [], CLUSTERS, PRICES).status == "pending"


def test_what_is_paid_for_is_the_time_on_nodes_of_all_attempts() -> None:
    assert cost([job()], CLUSTERS, PRICES) == pytest.approx(2 * 0.36 * 100 / 3600)
    assert cost([job("Canceled"), job(cluster="spot")], CLUSTERS, PRICES) == pytest.approx(2 * 0.432 * 100 / 3600)
    assert cost([job("Queued", {DETAILS: {}})], CLUSTERS, PRICES) == 0
    began = (datetime.now(UTC) - timedelta(seconds=50)).isoformat()
    assert cost([job("Running", {DETAILS: {"startTimeUtc": began}})], CLUSTERS, PRICES) == pytest.approx(0.01, rel=0.2)


def test_what_has_no_price_has_no_cost() -> None:
    for other in (job(cluster="rare"), job(cluster="gone")):
        assert cost([job(), other], CLUSTERS, PRICES) is None
        assert "no price is known" in bill([other], CLUSTERS, PRICES)
    assert bill([job(cluster="spot")], CLUSTERS, PRICES) == "2 x Standard_DS3_v2 (low priority), for 100 s: $0.0040"
    assert bill([job("Canceled", {DETAILS: {}})], CLUSTERS, PRICES) == ""


def followed(monkeypatch: pytest.MonkeyPatch, looks: list[list[dict[str, Any]]], files: dict[str, str]) -> list[str]:
    """The lines of a run whose jobs are described differently at each look, the last one for good."""

    def more(self: Any, name: str, url: str) -> bytes:
        whole = files[url].encode()
        begin = self._read.get(name, 0)
        self._read[name] = len(whole)
        return whole[begin:]

    answers: Iterator[list[dict[str, Any]]] = iter(looks)
    monkeypatch.setattr(job_log, "POLL_SECONDS", 0)
    monkeypatch.setattr(job_log._UnreadLines, "_more", more)
    return list(job_log.follow_jobs(lambda: next(answers, looks[-1]), CLUSTERS, PRICES))


def printing(status: str, files: dict[str, str] | None = None) -> dict[str, Any]:
    made = job(status)
    made[DETAILS] = {**made[DETAILS], "logFiles": files or {}}
    return made


def test_the_story_is_told_around_the_lines_and_ends_with_the_bill(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "user_logs/std_log.txt"
    begin = "stage=train\nstep=1 total=2 loss=1.0\nhal"
    files = {"1": begin, "2": f"{begin}f a line\nthe last one", "system": "not shown"}
    looks = [
        [],
        [printing("Queued")],  # that there is one; then the first look at it
        [printing("Queued")],
        [printing("Running", {name: "1", "system_logs/lifecycler.log": "system"})],
        [printing("Completed", {name: "2"})],
    ]
    lines = followed(monkeypatch, looks, files)
    told = [line.split(" ", 1)[1] if line[2] == ":" else line for line in lines]
    assert told[0].startswith("waiting for a node")
    assert told[1:3] == ["job running", "stage=train"]
    assert told[3] == "step=1 total=2 loss=1.0 usd=0.0200"
    assert told[4:7] == ["half a line", "the last one", "job completed"]
    assert told[7] == "2 x Standard_DS3_v2, for 100 s: $0.0200"


def followed_with_a_closed_log(monkeypatch: pytest.MonkeyPatch, status: int, code: str) -> list[str]:
    """The lines of a run whose log storage refuses to everybody."""

    class Closed:
        @classmethod
        def from_blob_url(cls, url: str) -> "Closed":
            return cls()

        def download_blob(self, offset: int | None) -> Any:
            kind = ClientAuthenticationError if status == 401 else HttpResponseError
            error = kind("refused")
            error.status_code, error.error_code = status, code  # type: ignore[attr-defined]
            raise error

    monkeypatch.setattr(job_log, "BlobClient", Closed)
    monkeypatch.setattr(job_log, "POLL_SECONDS", 0)
    looks = iter([printing(status, {LOG: LOG_URL}) for status in ("Running", "Running", "Running", "Completed")])
    last = printing("Completed", {LOG: LOG_URL})
    return list(job_log.follow_jobs(lambda: [next(looks, last)], CLUSTERS, PRICES))


LOG = "user_logs/std_log.txt"
LOG_URL = "https://kitscratch.blob.core.windows.net/azureml/ExperimentRun/dcid.x/user_logs/std_log.txt?sig=secret"


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (403, "AuthorizationPermissionMismatch", "reading requires Storage Blob Data Reader on container azureml of "),
        (
            409,
            "PublicAccessNotPermitted",
            "link that Azure ML gave has no signature, and the account takes no anonymous ",
        ),
        (401, "NoAuthenticationInformation", "link that Azure ML gave has no signature, and the account takes no anon"),
        (
            403,
            "KeyBasedAuthenticationNotPermitted",
            "signed with the account's key, and the account's keys are disabled",
        ),
    ],
)
def test_a_log_that_nobody_may_read_is_told_once_and_the_job_followed(
    monkeypatch: pytest.MonkeyPatch, status: int, code: str, words: str
) -> None:
    lines = followed_with_a_closed_log(monkeypatch, status, code)
    (told,) = [line for line in lines if "can't be read" in line]
    assert told.startswith(f"{LOG} can't be read: {code}; ")
    assert words in told
    assert "kitscratch.blob.core.windows.net" in told
    assert "Storage Blob Data Reader on container azureml" in told
    assert "secret" not in told
    assert lines[-2].endswith("job completed")


def test_a_link_that_storage_does_not_take_comes_with_the_command_that_reads_the_log(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for status, code in ((409, "PublicAccessNotPermitted"), (403, "KeyBasedAuthenticationNotPermitted")):
        (told,) = [line for line in followed_with_a_closed_log(monkeypatch, status, code) if code in line]
        command = (
            f"`az storage blob download --auth-mode login --blob-url '{LOG_URL.partition('?')[0]}' --file log.txt`"
        )
        assert command in told


def test_a_conflict_that_is_not_about_access_ends_the_following(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KitError, match="BlobArchived"):
        followed_with_a_closed_log(monkeypatch, 409, "BlobArchived")


def test_other_nodes_lines_begin_with_their_name(monkeypatch: pytest.MonkeyPatch) -> None:
    logs = {"user_logs/std_log_process_0.txt": "first", "user_logs/std_log_process_1.txt": "second"}
    lines = followed(monkeypatch, [[printing("Completed", logs)]], {"first": "a\n", "second": "b\n"})
    assert lines[:2] == ["a", "node-1: b"]


def test_a_failed_jobs_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = followed(monkeypatch, [[job("Failed", {FAILURE: "DataError: no luck\n  fix: none"})]], {})
    assert lines[0].endswith("job failed (DataError: no luck)")
