"""Day two: another stack, a worse version, a manual change, and an update under load."""

import json
import tempfile
from pathlib import Path
from typing import Any

from llmops_kit.cli.rehearsal.lifecycle.first_model import golden_of
from llmops_kit.cli.rehearsal.lifecycle.shared import ENDPOINT, QUEUE, promote_version, require, write_stack
from llmops_kit.cli.rehearsal.load import Load
from llmops_kit.cli.rehearsal.stage import Stage
from llmops_kit.cli.rehearsal.steps import Evidence, RehearsalStep
from llmops_kit.cli.rehearsal.worse_model import copy_perturbed
from llmops_kit.core.documents.model import GateResult, ModelManifest
from llmops_kit.core.integrity.digest import file_entries
from llmops_kit.core.layout import MANIFEST, SIGNATURE

_REASON = "to see that it is rolled back"
_UNTOLD = (
    "none of the version's golden prompts has a known answer, so its servers can't tell a worse version from it; rows "
    "that are answered rightly become golden prompts (docs/how-to/evaluation.md, Golden prompts)"
)
_BY_HAND = 0.1  # the quality alarm's threshold after the manual change


def copy(stage: Stage) -> Evidence:
    """Copies the version that was tested in dev to prod: the same bytes, signed with prod's key."""
    version, prod = stage.notes["version"], stage.world.stack("prod")
    if not stage.notes.get("theirs"):
        write_stack(stage, "prod")
        stage.llmops("up", stack="prod")
    copied = stage.json("models", "copy", version, "--from", stage.world.stack("dev"), "--to", prod)
    require(
        copied["sha256"] == stage.platform().store().find(version).sha256,
        "the copy is another version",
        f"stack {prod}",
    )
    stage.json("images", "build", stack="prod")
    stage.bound("prod")
    promote_version(stage, f"{version.partition('@')[0]}@latest", stack="prod")
    stage.llmops("up", stack="prod")
    question = golden_of(stage).messages[-1].content
    answer = stage.json("invoke", ENDPOINT, question, stack="prod")["choices"][0]["message"]["content"]
    return Evidence(
        (f"{version} has the same identity in {prod}, and answers there: {answer.strip()}",), {"same identity": True}
    )


def bad_version(stage: Stage) -> Evidence:
    """Forces a version with perturbed weights, which starts and answers fast with 200. Its quality rolls it back."""
    version = stage.notes["version"]
    if not any(golden.is_telling for golden in stage.manifest(version).golden):
        return Evidence(skipped=_UNTOLD)
    worse = _worse(stage)
    refused = stage.llmops("promote", worse, "--endpoint", ENDPOINT, code=3)
    require("gate" in refused, "a version that failed its gate was promoted without --force", worse)
    stage.json("promote", worse, "--endpoint", ENDPOINT, "--force", "--reason", _REASON)
    stage.edit(lambda config: config["endpoints"].pop(QUEUE, None))
    with Load(stage, ENDPOINT, golden_of(stage).messages[-1].content) as load:
        load.answered(3)
        stage.timeline.mark(f"{worse} comes")
        said = stage.llmops("up", code=1)
        stage.timeline.mark("rolled back")
        load.answered(2)
    stage.read_quality(ENDPOINT)
    require(
        "was rolled back" in said and stage.cloud.rolled_back_by in said,
        "the update failed for another reason",
        "`llmops up`",
    )
    row = stage.endpoint_row(ENDPOINT)
    # A cloud may keep the worse version's servers for their log, without traffic.
    require(
        row["serves"].partition(",")[0] in (version, f"{version} 100 %"),
        f"{row['serves']} serves after the rollback",
        "`llmops status`",
    )
    failed = load.failed
    require(
        not failed, f"{len(failed)} of {load.count} requests failed: {failed[0].words if failed else ''}", "the load"
    )
    rejected = stage.llmops("promote", worse, "--endpoint", ENDPOINT, "--force", "--reason", _REASON, code=3)
    require("was rejected" in rejected, "a rejected version was promoted again", worse)
    stage.llmops("rollback", "--endpoint", ENDPOINT)
    stage.llmops("up")
    return Evidence(
        (
            f"{worse} was rejected by its gate, and promoted with --force",
            "it started and got traffic; then its quality caused a rollback, and `llmops up` failed with that reason",
            f"{version} serves again; {load.count} requests during the rollout, none failed",
            f"{worse} is now marked as rejected",
        ),
        {"rolled back": True, "rejected": True, "failed requests": 0},
        {"requests": load.count},
    )


def drift(stage: Stage) -> Evidence:
    """Changes the quality alarm's threshold by hand; a refresh detects the drift, and an update repairs it."""
    alarm = stage.cloud.quality_alarm(stage.outputs(), ENDPOINT)
    again = alarm.before == _BY_HAND  # an earlier attempt, which was killed, set it
    alarm.set(_BY_HAND)
    stage.llmops("plan", "--refresh", "--detailed-exitcode", who="preview", code=2)
    stage.llmops("up", "--refresh")
    now = alarm.read()
    require(now != _BY_HAND and (again or now == alarm.before), f"the alarm's threshold is {now}", alarm.name)
    return Evidence(
        (
            f"the threshold of {alarm.name} was set to {_BY_HAND} by hand",
            "`llmops plan --refresh --detailed-exitcode` ended with 2, under the role that only reads",
            f"`llmops up --refresh` brought it back to {now}",
        ),
        {"found": True},
    )


def update(stage: Stage) -> Evidence:
    """Changes a setting that replaces the instances: all requests are answered while one fleet replaces the other."""
    stage.edit(lambda config: stage.cloud.change_machines(config["endpoints"][ENDPOINT]))
    again, stage.notes["updating"] = stage.notes.get("updating", False), True
    with Load(stage, ENDPOINT, golden_of(stage).messages[-1].content) as load:
        load.answered(3)
        stage.timeline.mark("update begins")
        # A retry after a silent rollback needs a refresh: the state has the update as done.
        stage.llmops("up", *(["--refresh"] if again and stage.cloud.rolls_back_silently else []))
        stage.timeline.mark("update ends")
        load.answered(3)
    stage.read_quality(ENDPOINT)
    failed = load.failed
    require(
        not failed, f"{len(failed)} of {load.count} requests failed: {failed[0].words if failed else ''}", "the load"
    )
    require(stage.endpoint_row(ENDPOINT)["ready"], "is not ready after the update", ENDPOINT)
    return Evidence(
        (f"{load.count} requests during the update, none failed; median {load.median * 1000:.0f} ms",),
        {"failed requests": 0},
        {"requests": load.count, "median seconds": load.median},
    )


def _worse(stage: Stage) -> str:
    """Returns a worse version in dev's store; another one if the last was rejected before the step ended."""
    store, put = stage.platform().store(), stage.notes.setdefault("worse ones", [])
    if not put or store.rejection(store.find(put[-1]).sha256):
        put.append(_put_worse(stage, len(put) + 1))
    return put[-1]


def _put_worse(stage: Stage, number: int) -> str:
    """Puts a perturbed copy of the trained version into dev's store, with a failed gate."""
    platform = stage.platform()
    ref = platform.store().find(stage.notes["version"])
    with tempfile.TemporaryDirectory(dir=stage.world.folder) as temporary:
        folder = Path(temporary) / "worse"
        copy_perturbed(platform.store().model_folder(ref.sha256), folder)
        fields: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
        (folder / MANIFEST).unlink()
        (folder / SIGNATURE).unlink(missing_ok=True)
        fields |= {
            "files": file_entries(folder),
            "gate": GateResult(passed=False, reasons=[f"its weights are perturbed ({number})"]),
        }
        fields.pop("schema")
        ModelManifest.new(**fields).write(folder / MANIFEST)
        return platform.store().put_model(folder, platform.sign).alias


STEPS = (
    RehearsalStep(
        "copy",
        "Copy and promote from dev to prod",
        "prod gets the tested version",
        "emulated",
        copy,
        needs=("invoke",),
    ),
    RehearsalStep(
        "worse",
        "Force a worse version, and roll it back by its quality",
        "a fault that only answers show is detected, rolled back and recorded",
        "emulated",
        bad_version,
        needs=("invoke",),
    ),
    RehearsalStep(
        "drift",
        "Detect a manual change",
        "drift is detected and repaired",
        "emulated",
        drift,
        needs=("serve",),
    ),
    RehearsalStep(
        "update",
        "Update under load",
        "no request fails while the endpoint changes",
        "emulated",
        update,
        needs=("invoke",),
    ),
)
