"""Checks a promoted model version against the stack's store, before anything is declared."""

from collections.abc import Callable

from llmops_kit.core.documents.model import ModelManifest
from llmops_kit.core.documents.store import Alias
from llmops_kit.core.errors import IntegrityError
from llmops_kit.core.hashes import sha256_bytes
from llmops_kit.core.layout import MANIFEST, alias_key, model_key
from llmops_kit.core.names import ModelRef, require_name
from llmops_kit.core.rejections import rejection
from llmops_kit.infra.settings import setting_error
from llmops_kit.settings.stack_settings import Endpoint

ReadStore = Callable[[str], bytes | None]
"""Returns the content of an object of the store by its key (core/layout.py); None if there is none."""


def require_servable(name: str, entry: Endpoint, read: ReadStore) -> None:
    """Check the version that endpoint `name` would serve.

    Raises:
        SettingError: it is not in the store, differs from the promoted one, has another name, was rejected after a
            rollback, or has not passed its gate.
    """
    version = entry.version
    key = ("endpoints", name, "model")
    alias = read(alias_key(version.name, version.number))
    if alias is None:
        raise setting_error(
            key,
            f"the stack's store has no {version.alias}",
            "`llmops models list` shows what it has; `llmops promote name@number` writes this line",
        )
    found = Alias.parse(alias.decode(), where=alias_key(version.name, version.number)).sha256
    if found != version.sha256:
        raise setting_error(
            key,
            f"{version.alias} is sha256:{found} in the store, but sha256:{version.sha256} was promoted",
            f"`llmops promote {version.alias}` writes both, or revert the line",
        )
    manifest = read(f"{model_key(version.sha256)}/{MANIFEST}")
    if manifest is None or sha256_bytes(manifest) != version.sha256:
        raise setting_error(
            key,
            f"the manifest of {version.alias} {'is missing' if manifest is None else 'was changed'} in the store",
            "`llmops models verify` says more; copy the version from an intact store, or promote another one",
        )
    where = f"manifest of {version.alias}"
    said = ModelManifest.parse(manifest, where=where)
    try:
        require_name(version.alias, said.name, where)
    except IntegrityError as e:
        raise setting_error(key, f"{e.where} {e.what}", e.fix) from None
    _require_not_rejected(name, version, read)
    if entry.gate == "required":
        _require_gate(name, version, said)


def _require_not_rejected(name: str, version: ModelRef, read: ReadStore) -> None:
    """Refuses a version that was rejected when its rollout was rolled back; `llmops models clear` removes that mark."""
    entry = rejection(version.sha256, read)
    if entry is None:
        return
    back = f"go back with `{entry['instead']}`" if entry.get("instead") else "promote another version"
    raise setting_error(
        ("endpoints", name, "model"),
        f"{version.alias} was rejected at {entry.get('when', 'an unknown time')}: {entry.get('why', 'rolled back')}",
        f"{back}; or, when its cause is gone, `llmops models clear {version.alias}`",
    )


def _require_gate(name: str, version: ModelRef, manifest: ModelManifest) -> None:
    gate = manifest.gate
    if gate and gate.passed:
        return
    what = f"did not pass its gate ({'; '.join(gate.reasons)})" if gate else "was never evaluated"
    raise setting_error(
        ("endpoints", name, "gate"),
        f"{version.alias} {what}, and the gate is required",
        "promote a version that passed, or write `gate: waived` to serve it anyway",
    )
