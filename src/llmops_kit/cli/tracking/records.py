"""Reads the record of a run for trackers, from its signed version, and from its spec if that is kept."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from llmops_kit.cli.interfaces.platform import Platform
from llmops_kit.cli.runs.receipts import read_metrics
from llmops_kit.core.documents.model import ModelManifest, Score
from llmops_kit.core.documents.recipe import Recipe
from llmops_kit.core.documents.run import Pinned
from llmops_kit.core.documents.training_metrics import StepMetrics
from llmops_kit.core.hashes import sha256_bytes
from llmops_kit.core.names import ModelRef

_OTHERS = re.compile(r"[^A-Za-z0-9_./-]+")
_QUERY = re.compile(r"(https?://[^\s?\"]+)\?[^\s\"]*")


@dataclass(frozen=True)
class RunRecord:
    """A run whose version is in the store."""

    run: str
    ref: ModelRef
    manifest: ModelManifest
    params: dict[str, str]
    """The recipe's settings by their path, such as `training.lora.r`; none if the run's spec has expired."""
    steps: list[StepMetrics]
    scores: dict[str, float]
    """`eval/<suite>/<which>` with the ends of its interval, and facts of the training."""

    @property
    def dataset(self) -> Pinned | None:
        """The dataset version that it was trained on."""
        return self.manifest.lineage.dataset

    @property
    def ended(self) -> float:
        """When the version was complete, in seconds since 1970."""
        return datetime.fromisoformat(self.manifest.created).timestamp()

    @property
    def started(self) -> float:
        """When the training began, in seconds since 1970, from its first step; `ended` without steps."""
        return self.steps[0].time - self.steps[0].seconds if self.steps else self.ended

    def tags(self, platform: Platform) -> dict[str, str]:
        """Returns the version's lineage."""
        lineage, gate = self.manifest.lineage, self.manifest.gate
        found = {
            "run": self.run,
            "stack": platform.outputs.stack,
            "target": platform.outputs.target,
            "model": self.ref.alias,
            "sha256": self.ref.sha256,
            "gate": "none" if gate is None else "passed" if gate.passed else "failed",
            "licence": self.manifest.licence,
            "recipe_sha256": lineage.recipe_sha256,
            "image": lineage.image,
            "kit_version": lineage.kit_version,
        }
        pinned = {"dataset": lineage.dataset, "base_model": lineage.base_model}
        found |= {name: f"{each.name}@sha256:{each.sha256}" for name, each in pinned.items() if each}
        return {f"llmops.{name}": value for name, value in found.items() if value}


def run_record(platform: Platform, ref: ModelRef) -> RunRecord:
    """Returns the record of a run's version.

    Raises:
        IntegrityError: the version was changed.
        SignatureError: the stack did not sign it.
    """
    store = platform.store()
    manifest = store.signed_manifest(ref, platform.outputs.signing.public_key)
    run, recipe = manifest.lineage.run, None
    for found in platform.find(run):
        if (
            found.spec.id == run
            and sha256_bytes(found.spec.recipe.to_json().encode()) == manifest.lineage.recipe_sha256
        ):
            recipe = found.spec.recipe
    steps = read_metrics(store.version(ref), manifest)
    return RunRecord(run, ref, manifest, recipe_params(recipe) if recipe else {}, steps, scores_of(manifest))


def recipe_params(recipe: Recipe) -> dict[str, str]:
    """Returns a recipe's settings by their path. Queries of URLs, which may hold a token, are left out."""
    return dict(_flat("", recipe.model_dump(mode="json", by_alias=True)))


def _flat(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, each in value.items():
            yield from _flat(f"{path}.{_OTHERS.sub('-', str(name))}".lstrip("."), each)
    elif isinstance(value, list) and any(isinstance(each, Mapping) for each in value):
        for number, each in enumerate(value):
            yield from _flat(f"{path}.{number}", each)
    elif value not in (None, "", []):
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        yield path, _QUERY.sub(r"\1", text)


def scores_of(manifest: ModelManifest) -> dict[str, float]:
    """Returns each suite's means before and after training and their gain, with their intervals, and the facts of the
    training.
    """
    found: dict[str, float] = {}
    for result in manifest.evaluation:
        suite = f"eval/{result.suite}"
        for name, score in (("before", result.before), ("after", result.after), ("gain", result.gain)):
            if score:
                found |= _interval(f"{suite}/{name}", score)
        for each in result.corpus:
            name = _OTHERS.sub("-", each.name.replace("++", "pp"))
            found |= {f"{suite}/{name}/before": each.before, f"{suite}/{name}/after": each.after}
    if facts := manifest.training:
        found |= {"train/steps": facts.steps, "train/tokens": facts.tokens, "train/seconds": facts.seconds}
        found |= {} if facts.best_step is None else {"train/best_step": facts.best_step}
    return found


def _interval(name: str, score: Score) -> dict[str, float]:
    return {name: score.value, f"{name}/low": score.low, f"{name}/high": score.high}
