"""Synchronizes an MLflow server with a stack's store: a run and a registered version for each trained version.

Compares the server with the store, so that the next call completes what failed before. A version is registered last: a
registered one has its run.
"""

import os
import re
from collections.abc import Iterable
from typing import Any

from llmops_kit.cli.deploying.promotion import promoted
from llmops_kit.cli.interfaces.platform import Platform, Say
from llmops_kit.cli.tracking.mlflow_client import masked, open_client, tracking_uri
from llmops_kit.cli.tracking.records import RunRecord, run_record
from llmops_kit.core.layout import model_key
from llmops_kit.core.names import ModelRef, parse_promoted

_RUN, _SHA256 = "llmops.run", "llmops.sha256"
_LONGEST_VALUE = 6000  # of a parameter; MLflow's server refuses longer ones
_RESERVED = re.compile(r"latest|v\d+", re.IGNORECASE)  # MLflow's own aliases


def track(platform: Platform, say: Say) -> None:
    """Writes missing versions of the stack to the server, and points its aliases at the promoted ones.

    Does nothing if MLFLOW_TRACKING_URI is not set. A failure is only a warning: the store is authoritative.
    """
    if not tracking_uri():
        return
    try:
        MlflowSync(platform, open_client(), say).run()
    except Exception as e:  # clients of other clouds raise their own
        words = str(e).strip().partition("\n")[0] or type(e).__name__
        say(f"warning: MLflow at {masked(tracking_uri())} is not up to date: {masked(words)[:500]}")
        say("the next `llmops runs collect` tries again")


class MlflowSync:
    """One pass over a stack's store."""

    def __init__(self, platform: Platform, client: Any, say: Say) -> None:
        self._platform, self._client, self._say = platform, client, say
        self._stack = platform.outputs.stack
        self._experiments: dict[str, str] = {}

    def run(self) -> None:
        """Writes runs, versions and aliases, in this order."""
        store = self._platform.store()
        serving = {name: parse_promoted(model) for name, model in promoted(store).items()}
        wanted: dict[str, list[ModelRef]] = {}
        for alias in store.versions():
            wanted.setdefault(alias.name, []).append(ModelRef(alias.name, alias.number, alias.sha256))
        for name, refs in wanted.items():
            known = self._registered(name)
            for ref in refs:
                if ref.sha256 not in known and (version := self._register(ref, promoted=ref in serving.values())):
                    known[ref.sha256] = version
                    self._say(f"{ref.alias} is version {version} of {name} in MLflow")
            self._point_aliases(name, known, serving)

    def _registered(self, name: str) -> dict[str, str]:
        """Returns identity -> MLflow's number of the versions that the kit registered."""
        found, token = {}, None
        while token != "":
            page = self._client.search_model_versions(f"name='{name}'", max_results=1000, page_token=token)
            found |= {each.tags[_SHA256]: str(each.version) for each in page if _SHA256 in each.tags}
            token = page.token or ""
        return found

    def _register(self, ref: ModelRef, promoted: bool) -> str:
        """Registers a version, its run first. Returns its number; empty for an import that was never promoted."""
        store, public_key = self._platform.store(), self._platform.outputs.signing.public_key
        manifest = store.signed_manifest(ref, public_key)
        if not (manifest.lineage.run or promoted):
            return ""
        record = run_record(self._platform, ref)
        run_id = self._write_run(record) if record.run else None
        self._make_model(ref.name)
        version = self._client.create_model_version(
            ref.name, self._source(ref), run_id, tags=record.tags(self._platform), await_creation_for=0
        )
        return str(version.version)

    def _source(self, ref: ModelRef) -> str:
        """Returns the version's place in the store. MLflow's server refuses folders of this machine as sources."""
        url = self._platform.store().address(ref)
        remote = "://" in url and not url.startswith("file:")
        return url if remote else f"llmops://{self._stack}/{model_key(ref.sha256)}"

    def _make_model(self, name: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._client.create_registered_model(name, description="Versions of the LLMOps kit, which signs them.")
        except MlflowException as e:
            if e.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _write_run(self, record: RunRecord) -> str:
        """Writes a run, or completes an interrupted one; returns its id."""
        experiment = self._experiment(record.ref.name)
        found = self._client.search_runs([experiment], f"tags.`{_RUN}` = '{record.run}'")
        complete = [run for run in found if run.info.status == "FINISHED"]
        if complete:
            return complete[0].info.run_id
        run = found[0] if found else self._create(experiment, record)
        run_id = run.info.run_id
        self._client.log_batch(run_id, metrics=_metrics(record), params=_params(record))
        self._log_dataset(run_id, record)
        self._client.set_terminated(run_id, "FINISHED", _ms(record.ended))
        return run_id

    def _create(self, experiment: str, record: RunRecord) -> Any:
        tags = record.tags(self._platform)
        return self._client.create_run(experiment, _ms(record.started), tags, run_name=record.run)

    def _experiment(self, name: str) -> str:
        """Returns the id of the experiment that MLFLOW_EXPERIMENT_NAME names, or else the recipe."""
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or name
        if name not in self._experiments:
            found = self._client.get_experiment_by_name(name)
            self._experiments[name] = found.experiment_id if found else self._client.create_experiment(name)
        return self._experiments[name]

    def _log_dataset(self, run_id: str, record: RunRecord) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        if (pinned := record.dataset) is None:
            return
        source = f"llmops://{self._stack}/datasets/{pinned.sha256}"
        dataset = Dataset(pinned.name, pinned.sha256[:36], "llmops", source)  # its digest has at most 36 characters
        self._client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])

    def _point_aliases(self, name: str, known: dict[str, str], serving: dict[str, ModelRef]) -> None:
        """Sets the stack's aliases of a model, and removes those of endpoints that serve another one."""
        if not known:
            return
        wanted = {
            alias_of(self._stack, endpoint, name): known[ref.sha256]
            for endpoint, ref in serving.items()
            if ref.name == name and ref.sha256 in known
        }
        there = {k: str(v) for k, v in self._client.get_registered_model(name).aliases.items()}
        for alias, version in wanted.items():
            if there.get(alias) != version:
                self._client.set_registered_model_alias(name, alias, version)
        own = alias_of(self._stack, name, name), f"{_plain(self._stack)}--"
        for alias in there.keys() - wanted.keys():
            if alias == own[0] or alias.startswith(own[1]):
                self._client.delete_registered_model_alias(name, alias)


def alias_of(stack: str, endpoint: str, model: str) -> str:
    """Returns MLflow's alias of the version that an endpoint serves: the stack's name, with the endpoint's if that
    differs from the model's.
    """
    short = _plain(stack)
    return short if endpoint == model and not _RESERVED.fullmatch(short) else f"{short}--{endpoint}"


def _plain(stack: str) -> str:
    return re.sub(r"[^\w-]", "-", stack)


def _params(record: RunRecord) -> list[Any]:
    from mlflow.entities import Param

    return [Param(name, value[:_LONGEST_VALUE]) for name, value in record.params.items()]


def _metrics(record: RunRecord) -> list[Any]:
    from mlflow.entities import Metric

    last = record.steps[-1].step if record.steps else 0
    return [
        *(Metric(name, value, _ms(step.time), step.step) for step in record.steps for name, value in _all(step)),
        *(Metric(name, value, _ms(record.ended), last) for name, value in record.scores.items()),
    ]


def _all(step: Any) -> Iterable[tuple[str, float]]:
    return {**step.values(), "seconds": step.seconds}.items()


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
