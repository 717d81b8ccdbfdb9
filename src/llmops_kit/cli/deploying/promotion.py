"""Promotion and rollback: edits the line of the stack file that selects the model version of an endpoint.

The line is authoritative, and is reviewed and reverted like any other. The store also keeps a log of promotions, so
that `rollback` finds the previous version even in a checkout without history.
"""

import re
from dataclasses import dataclass

from llmops_kit.cli.evaluation.production import compare_with_production
from llmops_kit.cli.interfaces.platform import Platform, Say
from llmops_kit.cli.stacks.stack_file import PromotedEntry, StackFile
from llmops_kit.cli.store.store import Store, now
from llmops_kit.cli.terminal.plain_text import printable
from llmops_kit.core.documents.model import ModelManifest
from llmops_kit.core.errors import KitError, NotFoundError, RefusedError
from llmops_kit.core.integrity.signing import this_user
from llmops_kit.core.layout import rejection_log
from llmops_kit.core.names import NAME_PATTERN, ModelRef, parse_promoted
from llmops_kit.core.validation import did_you_mean

MOST_REASON = 200
"""Maximum length of the reason for waiving a gate, in characters."""
_FORCE = '`--force --reason "why"` promotes it anyway, with `gate: waived`'
_UNKNOWN = "not recorded"
"""Reason of a gate that was waived by hand, or by an older kit."""


@dataclass(frozen=True)
class PromotionChange:
    """The change written into the stack file."""

    endpoint: str
    before: str
    after: ModelRef
    waived: bool
    diff: str


def promote(
    platform: Platform,
    file: StackFile,
    version: str,
    endpoint: str = "",
    reason: str = "",
    say: Say = lambda _: None,
) -> PromotionChange:
    """Writes a model version into the stack file, after checking its signature, files and gate.

    A gate with `not_worse_than: production` compares it with the version that the endpoint was deployed with.

    Args:
        platform: the stack in operation.
        file: the stack's file, which is written.
        version: name@number, name@latest, or name@sha256:….
        endpoint: name of the entry; empty: the only one that serves a version of this name, else the version's name.
        reason: for promoting a version that did not pass its gate, with `gate: waived`; empty: it is refused.
        say: called with the method of checking files, a missing OpenVINO format, and the comparison with production.

    Raises:
        KitError: the version is not in the store, was changed, is not signed by this stack, was rejected, or did not
            pass its gate (with reasons; `reason` waives it, except in a stack with `production: true`); the endpoint's
            name is invalid; or `reason` is not a single line of at most MOST_REASON characters.
    """
    require_line(reason, "--reason")
    store = platform.store()
    ref = store.find(version)
    written = store.manifest(ref)  # unverified: fails early, before the files are checked
    written.require_task(ref.alias, "text-generation", "feature-extraction")
    _require_gate(written, store, ref, reason)
    manifest = store.verify_model(ref, platform.outputs.signing.public_key, say)
    passed = _require_gate(manifest, store, ref, reason)
    _require_not_rejected(store, ref)
    if "openvino" not in manifest.engines:
        say(f"{ref.alias} has no OpenVINO form: an endpoint on CPUs needs that of `llmops models convert {ref.alias}`")
    name = endpoint or _serving(file, ref.name) or ref.name
    if not re.fullmatch(NAME_PATTERN, name) or not 3 <= len(name) <= 32:
        raise KitError(
            f"{name!r} is not a valid name for an endpoint",
            where="--endpoint",
            fix="use 3 to 32 lower-case letters, digits and single dashes, starting with a letter",
        )
    passed &= _require_not_worse(platform, ref, manifest, name, reason, say)
    return _write(platform, file, name, ref, reason="" if passed else reason, kind="promote")


def rollback(platform: Platform, file: StackFile, endpoint: str = "", say: Say = lambda _: None) -> PromotionChange:
    """Writes the previous version of an endpoint into the stack file; repeated, the one before that.

    Raises:
        KitError: there is no such endpoint, several exist and none is named, there is no previous version, or that
            one was rejected, was changed, is not signed by this stack, or had its gate waived and the stack has
            `production: true`.
    """
    entries = file.promoted()
    name = endpoint or _only(list(entries), str(file.path))
    if name not in entries:
        fix = did_you_mean(name, entries) or f"there are: {', '.join(entries) or 'none'}"
        raise NotFoundError(f"there is no endpoint {name}", where=str(file.path), fix=fix)
    current = entries[name].model
    before = _before(_history(platform.store(), name), current)
    if not before:
        raise KitError(
            f"{name} had no version before {_short(current)}",
            where=str(file.path),
            fix="`llmops models list` shows the versions, `llmops promote NAME@N` promotes one",
        )
    text, reason = before
    ref = parse_promoted(text)
    store = platform.store()
    _require_not_rejected(store, ref)
    store.verify_model(ref, platform.outputs.signing.public_key, say)
    return _write(platform, file, name, ref, reason=reason, kind="rollback")


def waivers(store: Store, endpoint: str = "") -> list[dict[str, str]]:
    """Lists promotions and rollbacks to versions whose gate was waived, of one endpoint or of all.

    Returns:
        Entries of the log, oldest first, with `endpoint`, `model` (name@number@sha256:…), `reason`, `by` and `at`.
        Older kits recorded no reason.
    """
    keys = store.objects.list(f"{promotion_log(endpoint)}/" if endpoint else "promotions/")
    names = sorted({key.split("/")[1] for key in keys})
    return [
        {"endpoint": name, "reason": "", **entry}
        for name in names
        for entry in store.read_log(promotion_log(name))
        if entry["gate"] == "waived"
    ]


def promoted(store: Store) -> dict[str, str]:
    """Returns endpoint -> the version (name@number@sha256:…) that was promoted or rolled back to last."""
    names = sorted({key.split("/")[1] for key in store.objects.list("promotions/")})
    return {name: store.read_log(promotion_log(name))[-1]["model"] for name in names}


def require_line(reason: str, where: str) -> None:
    """Checks a reason that is recorded.

    Raises:
        KitError: it is not a single line of at most MOST_REASON characters.
    """
    if len(reason) > MOST_REASON or printable(reason) != reason or "\n" in reason or "\t" in reason:
        raise KitError(
            "is not a reason that fits on one line",
            where=where,
            fix=f"write one line of at most {MOST_REASON} characters, without control characters",
        )


def _require_gate(manifest: ModelManifest, store: Store, ref: ModelRef, reason: str) -> bool:
    """Returns whether the gate was passed.

    Raises:
        KitError: it was not, and the promotion is not forced.
    """
    passed = manifest.gate is not None and manifest.gate.passed
    if not passed and not reason:
        reasons = "".join(f"\n    {r}" for r in manifest.gate.reasons) if manifest.gate else ""
        raise RefusedError(
            f"the gate of {ref.alias} was not passed:{reasons}"
            if manifest.gate
            else f"{ref.alias} was never evaluated",
            where=f"{store.objects.url}/models/{ref.sha256}",
            fix=f"change data or recipe and train again; {_FORCE}",
        )
    return passed


def _require_not_worse(
    platform: Platform, ref: ModelRef, manifest: ModelManifest, endpoint: str, reason: str, say: Say
) -> bool:
    """Returns whether the version is not worse than production; True if its gate does not compare them.

    Raises:
        RefusedError: it is worse, or that is unknown, and no reason to promote it anyway is given.
    """
    verdict = compare_with_production(platform, ref, manifest, endpoint)
    if not verdict.passed and not reason:
        raise RefusedError(
            f"{ref.alias} is not shown to be as good as production: {'; '.join(verdict.reasons)}",
            where=f"endpoint {endpoint}",
            fix=f"{verdict.fix or 'change data or recipe and train again'}; {_FORCE}",
        )
    for line in verdict.reasons:
        say(line)
    return verdict.passed


def _require_not_rejected(store: Store, ref: ModelRef) -> None:
    if why := store.rejection(ref.sha256):
        raise RefusedError(
            f"{ref.alias} was rejected: {why}",
            where=f"{store.objects.url}/{rejection_log(ref.sha256)}",
            fix=f"promote another version; `llmops models clear {ref.alias}` lets this one be promoted again",
        )


def _write(platform: Platform, file: StackFile, name: str, ref: ModelRef, reason: str, kind: str) -> PromotionChange:
    waived = bool(reason)
    if waived and file.settings("production").production:
        raise RefusedError(
            f"{ref.alias} did not pass its gate, and this stack is for production",
            where=f"{file.path}: production",
            fix="promote a version that passed; or try this one in another stack",
        )
    entry = file.promoted().get(name, PromotedEntry())
    before = entry.model
    if before != str(ref):
        file.set(name, "model", str(ref))
    if waived and entry.gate != "waived":
        file.set(name, "gate", "waived")
    elif not waived and entry.gate == "waived":
        file.remove(name, "gate")  # it applied to the previous version
    diff = file.diff()
    file.write()
    if diff:
        entry_of_log = {
            "schema": "promotion/1",
            "kind": kind,
            "model": str(ref),
            "before": before,
            "gate": "waived" if waived else "passed",
            "gate_before": entry.gate,
            "reason": reason,
            "at": now(),
            "by": this_user(),
        }
        platform.store().append(promotion_log(name), entry_of_log)
    return PromotionChange(name, before, ref, waived, diff)


def _history(store: Store, endpoint: str) -> list[tuple[str, str]]:
    """Returns the promoted versions without those rolled back, oldest first, and the reason of each waived gate."""
    stack: list[tuple[str, str]] = []
    for entry in store.read_log(promotion_log(endpoint)):
        before = entry["before"]
        if before and (not stack or stack[-1][0] != before):
            stack.append((before, _UNKNOWN if entry["gate_before"] == "waived" else ""))  # written by hand, or reverted
        model, reason = entry["model"], entry.get("reason") or _UNKNOWN
        if entry["kind"] == "rollback" and (position := _last(stack, model)) >= 0:
            del stack[position + 1 :]
        else:
            stack.append((model, reason if entry["gate"] == "waived" else ""))
    return stack


def _before(stack: list[tuple[str, str]], current: str) -> tuple[str, str] | None:
    """Returns the entry before `current`. A version missing in the log counts as newer than all of it."""
    position = _last(stack, current)
    earlier = [item for item in (stack if position < 0 else stack[:position]) if item[0] != current]
    return earlier[-1] if earlier else None


def _last(stack: list[tuple[str, str]], model: str) -> int:
    return max((i for i, item in enumerate(stack) if item[0] == model), default=-1)


def _serving(file: StackFile, model: str) -> str:
    """Returns the endpoint that serves versions of this name; empty if there is none, or several."""
    found = [n for n, e in file.promoted().items() if e.model.partition("@")[0] == model]
    return found[0] if len(found) == 1 else ""


def _only(names: list[str], where: str) -> str:
    if len(names) == 1:
        return names[0]
    if not names:
        raise NotFoundError("there is no endpoint", where=where, fix="`llmops promote NAME@N` makes one")
    raise KitError(f"which endpoint? There are {', '.join(names)}", where=where, fix=f"add --endpoint {names[0]}")


def promotion_log(endpoint: str) -> str:
    """Returns the name of the store's log of an endpoint's promotions."""
    return f"promotions/{endpoint}"


def _short(model: str) -> str:
    return model.partition("@sha256")[0] or "it"
