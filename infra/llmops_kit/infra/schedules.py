"""Checks the spec of a run that a schedule repeats."""

from collections.abc import Callable, Sequence

from llmops_kit.core.documents.run import RunSpec
from llmops_kit.core.hashes import sha256_bytes
from llmops_kit.infra.settings import setting_error


def proven_spec(
    key: tuple[str, ...],
    run: str,
    place: str,
    read: Callable[[str], bytes | None],
    wanted: Sequence[tuple[str, Callable[[], str]]],
) -> str:
    """Returns the spec of a run as JSON: the first stored one whose sha256 is that of the submitted spec.

    Args:
        key: the setting that names the run.
        run: its id.
        place: where runs are stored, for errors.
        read: returns an object there by its key; None if there is none.
        wanted: where a spec may be: its key, and a function that returns the sha256 recorded by the cloud.

    Raises:
        SettingError: there is no spec, it is not the submitted one, or the run consists of two jobs.
    """
    there = [(object_key, content, named) for object_key, named in wanted if (content := read(object_key))]
    for _, content, named in there:
        if sha256_bytes(content) == named():
            _require_one_job(key, run, content)
            return content.decode()
    if not there:
        raise setting_error(
            key, f"there is no run {run} in {place}", "`llmops runs` lists them, `llmops train` makes one"
        )
    raise setting_error(
        key,
        f"{there[0][0]} in {place} is not what run {run} was submitted with, or an older kit submitted it",
        "name a run that this kit started: `llmops train RECIPE --again` makes one; see what else may write there",
    )


def _require_one_job(key: tuple[str, ...], run: str, content: bytes) -> None:
    """Refuses runs of two jobs: a schedule starts a job, and nothing would start the second one after it."""
    if RunSpec.parse(content, where=f"run {run}").trainer:
        raise setting_error(
            key,
            f"run {run} has two jobs, as its training image doesn't train it, and a schedule starts one",
            "run `llmops train RECIPE --again` and `llmops runs collect` from a scheduler of yours, such as CI",
        )
