"""What somebody who approves a promotion has to see: the version, its scores and gate, and what changed since the one
in production.

It reads manifests and run specs only, no rows and no weights, so that a role without rights to data can do it. Those
documents are compared with the identities that name them. Who signed them, the files, and the job's scores are checked
later, by `llmops runs collect` and `llmops promote`.
"""

import difflib
import json
from dataclasses import dataclass, field
from typing import Any

from llmops_kit.cli.evaluation.models import production
from llmops_kit.cli.interfaces.platform import Platform, Run, doubtful
from llmops_kit.cli.runs.runs import find_run, not_complete
from llmops_kit.core.documents.dataset import DatasetManifest
from llmops_kit.core.documents.model import ModelManifest
from llmops_kit.core.errors import IntegrityError, KitError, RefusedError
from llmops_kit.core.hashes import sha256_bytes
from llmops_kit.core.layout import MANIFEST, dataset_key
from llmops_kit.core.names import identity

MOST_LINES = 400
"""Maximum number of lines of a recipe's diff."""


@dataclass(frozen=True)
class ReviewedVersion:
    """A version with the documents of its lineage, as far as they can be read."""

    alias: str
    """name@number; empty: its run was not collected."""
    sha256: str
    manifest: ModelManifest
    dataset: DatasetManifest | None
    recipe: str
    """The recipe as JSON; empty: it can't be read."""

    @property
    def identity(self) -> str:
        """`name@sha256:…`."""
        return identity(self.manifest.name, self.sha256)


@dataclass(frozen=True)
class Review:
    """A version beside the one in production."""

    version: ReviewedVersion
    run: str
    """The run to collect first; empty: the version is in the store."""
    production: ReviewedVersion | None
    rejected: str = ""
    """Why the version can't be promoted; empty: it was not rejected."""
    unknown: list[str] = field(default_factory=list)
    """What could not be read, with the reason."""

    def scores(self) -> list[dict[str, Any]]:
        """Returns a row for each suite: the base model's score, the version's, and production's."""
        results = self.production.manifest.evaluation if self.production else []
        served = {result.suite: result for result in results}
        return [
            {
                "suite": result.suite,
                "metric": result.metric,
                "base": result.before.value,
                "version": result.after.value,
                "low": result.after.low,
                "high": result.after.high,
                "groups": result.after.groups,
                "production": served[result.suite].after.value if result.suite in served else None,
            }
            for result in self.version.manifest.evaluation
        ]

    def code(self) -> list[dict[str, str]]:
        """Returns what made each of the two versions: base model, images, kit and recipe, by their identities."""
        served = _makers(self.production) if self.production else {}
        makers = _makers(self.version).items()
        return [{"what": name, "version": value, "production": served.get(name, "")} for name, value in makers]

    def recipe_diff(self) -> list[str]:
        """Returns the unified diff of the two recipes, of at most MOST_LINES lines; empty if one is not known."""
        if not self.production or not (self.production.recipe and self.version.recipe):
            return []
        lines = list(
            difflib.unified_diff(
                self.production.recipe.splitlines(),
                self.version.recipe.splitlines(),
                self.production.alias,
                self.version.alias or self.run,
                lineterm="",
            )
        )
        more = len(lines) - MOST_LINES
        return lines[:MOST_LINES] + ([f"... {more} more lines"] if more > 0 else [])

    def data(self) -> list[dict[str, Any]]:
        """Returns rows that describe the two dataset versions: their identities, splits, sources and dropped rows."""
        datasets = self.version.dataset, self.production.dataset if self.production else None
        both = [_contents(each) if each else {} for each in datasets]
        names = list(dict.fromkeys([*both[0], *both[1]]))
        return [{"what": name, "version": both[0].get(name, ""), "production": both[1].get(name, "")} for name in names]


def review(platform: Platform, text: str, endpoint: str = "") -> Review:
    """Returns a version beside the one in production.

    Args:
        platform: the stack in operation.
        text: name@3, name@latest, or the id of a completed run.
        endpoint: the endpoint to promote to; empty: the one that serves the version's name.

    Raises:
        KitError: there is no such version or run, or the run has no version that could be signed yet.
        IntegrityError: a manifest is not what its identity says.
    """
    store, unknown = platform.store(), []
    run = None if "@" in text else find_run(platform, text)
    ref = store.find(text) if run is None else store.of_run(run.spec.recipe.name, run.spec.id)
    if ref is not None:
        manifest, sha256, alias = store.manifest(ref), ref.sha256, ref.alias
    else:
        assert run is not None
        (manifest, sha256), alias = _output(platform, run), ""
    served = production(platform, manifest.name, endpoint)
    before = None
    if served is not None and served.sha256 != sha256:
        before = _reviewed(platform, store.manifest(served), served.sha256, served.alias, unknown)
    return Review(
        _reviewed(platform, manifest, sha256, alias, unknown),
        "" if ref or run is None else run.spec.id,
        before,
        store.rejection(sha256),
        unknown,
    )


def _output(platform: Platform, run: Run) -> tuple[ModelManifest, str]:
    """Returns the manifest that `llmops runs collect` would sign, and its identity.

    Raises:
        RunError: the run is not complete, or in doubt. RefusedError: judges have yet to score it.
    """
    if run.state.status != "completed":
        raise not_complete(run)
    if run.doubt:
        raise doubtful(run)
    if any(suite.judged for suite in run.spec.recipe.evaluation.suites):
        raise RefusedError(
            "its judges are asked when it is collected, so its version is not known before",
            where=f"run {run.spec.id}",
            fix=f"`llmops runs collect {run.spec.id}` with rights to sign, then review its version",
        )
    made = platform.output(run.spec.id)
    content = made.manifest()
    where = f"{made.where}/{MANIFEST}"
    manifest = ModelManifest.parse(content, where=where)
    if manifest.name != run.spec.recipe.name or manifest.lineage.run != run.spec.id:
        raise IntegrityError("is not the version of this run", where=where, fix="find out what else writes there")
    return manifest, sha256_bytes(content)


def _reviewed(
    platform: Platform, manifest: ModelManifest, sha256: str, alias: str, unknown: list[str]
) -> ReviewedVersion:
    what = alias or f"run {manifest.lineage.run}"
    dataset, recipe = None, ""
    try:
        dataset = _dataset(platform, manifest)
    except KitError as e:
        unknown.append(f"dataset of {what}: {e}")
    try:
        recipe = _recipe(platform, manifest)
    except KitError as e:
        unknown.append(f"recipe of {what}: {e}")
    return ReviewedVersion(alias, sha256, manifest, dataset, recipe)


def _dataset(platform: Platform, manifest: ModelManifest) -> DatasetManifest | None:
    if (pinned := manifest.lineage.dataset) is None:
        return None  # imported
    objects, key = platform.store().objects, f"{dataset_key(pinned.sha256)}/{MANIFEST}"
    content = objects.get(key)
    if sha256_bytes(content) != pinned.sha256:
        raise IntegrityError("was changed in the store", where=f"{objects.url}/{key}", fix="find out who changed it")
    return DatasetManifest.parse(content, where=f"{objects.url}/{key}")


def _recipe(platform: Platform, manifest: ModelManifest) -> str:
    """Returns the recipe that the version's lineage names, as JSON of a field a line; empty after an import."""
    if not manifest.lineage.recipe_sha256:
        return ""
    run = find_run(platform, manifest.lineage.run)
    content = run.spec.recipe.to_json()
    if sha256_bytes(content.encode()) != manifest.lineage.recipe_sha256:
        raise IntegrityError("has another recipe than the version's", where=f"run {run.spec.id}")
    return json.dumps(json.loads(content), indent=2, ensure_ascii=False)


def _makers(version: ReviewedVersion) -> dict[str, str]:
    lineage = version.manifest.lineage
    base = f"{lineage.base_model.name} sha256:{lineage.base_model.sha256}" if lineage.base_model else ""
    origin = f"{lineage.origin.source} {lineage.origin.revision}".strip() if lineage.origin else ""
    return {
        "base model": base or origin,
        "training image": lineage.image,
        "trainer": lineage.trainer,
        "kit": lineage.kit_version,
        "recipe": f"sha256:{lineage.recipe_sha256}" if lineage.recipe_sha256 else "",
        "licence": version.manifest.licence,
    }


def _contents(dataset: DatasetManifest) -> dict[str, str]:
    """Returns what describes a dataset version, by name. Its own sha256 is in the lineage, beside this."""
    splits = {
        f"split {name}": f"rows {rows}, groups {dataset.groups.get(name, 0)}" for name, rows in dataset.rows.items()
    }
    sources = {f"source {each.source}": f"rows {each.rows}, sha256:{each.sha256[:12]}" for each in dataset.sources}
    dropped = {f"dropped: {why}": f"rows {rows}" for why, rows in dataset.dropped.items()}
    redacted = {f"redacted: {kind}": f"rows {rows}" for kind, rows in dataset.redacted.items()}
    return {**splits, **sources, **dropped, **redacted}
