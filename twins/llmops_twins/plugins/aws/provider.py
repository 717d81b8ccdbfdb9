"""The stand-in for Pulumi's aws plugin: rules from types.json, calls to the twin from kinds.json."""

import copy
import importlib.metadata
import secrets
from typing import Any

from llmops_twins.plugins.aws import checks, differ, equivalence, functions, tags
from llmops_twins.plugins.aws.calls import ResourceOperation
from llmops_twins.plugins.aws.kinds import AwsResourceKind, kind_of
from llmops_twins.plugins.aws.rules import AwsTypeRules, rules
from llmops_twins.plugins.aws.session import AwsSession, check_config, open_session
from llmops_twins.plugins.caller import environment_of
from llmops_twins.plugins.plugin import (
    Differences,
    Failure,
    Naming,
    PartlyMadeError,
    PluginRequest,
    Provider,
    ProviderError,
)
from llmops_twins.plugins.values import DEFAULTS, UNKNOWN, has_unknown

Properties = dict[str, Any]


class AwsProvider(Provider[AwsSession]):
    """The provider. `twin` is the default address, for providers whose own inputs name none."""

    name = "aws"

    def __init__(self, twin: str = "") -> None:
        self._twin = twin
        self.version = importlib.metadata.version("pulumi_aws")

    def check_config(self, config: Properties) -> list[Failure]:
        return check_config(config)

    def configure(self, config: Properties, peer: str) -> AwsSession:
        return open_session(config, self._twin, environment_of(peer))

    def check(
        self, request: PluginRequest[AwsSession], olds: Properties, news: Properties, naming: Naming
    ) -> tuple[Properties, list[Failure]]:
        known = self._rules(request)
        inputs = checks.normalised(known, news)
        if known.tagged:
            inputs["tagsAll"] = tags.merged(request.session, inputs.get("tags"))
        if known.regional and not inputs.get("region"):
            inputs["region"] = request.session.region or UNKNOWN
        inputs, failures = checks.with_defaults(known, request.name, olds, inputs, naming)
        return inputs, failures + checks.failures(known, request.name, inputs)

    def diff(
        self, request: PluginRequest[AwsSession], old_inputs: Properties, state: Properties, news: Properties
    ) -> Differences:
        known = self._rules(request)
        recorded = old_inputs or _inputs_of(known, state)
        if refusal := self._kind(request).refused_change(state, news):
            raise ProviderError(refusal)
        return differ.diff(known, request.session.account, recorded, state, news)

    def preview(
        self, request: PluginRequest[AwsSession], inputs: Properties, old_inputs: Properties, state: Properties
    ) -> Properties:
        known = self._rules(request)
        outputs = {name: value for name, value in inputs.items() if name != DEFAULTS}
        absent = [name for name in known.properties if name not in outputs]
        if not state:
            return outputs | {n: UNKNOWN for n in absent if n in known.outputs or n in known.computed}
        outputs |= {n: state[n] for n in absent if n in state and (n in known.outputs or n in known.computed)}
        return outputs | dict.fromkeys(known.changing, UNKNOWN)

    def create(self, request: PluginRequest[AwsSession], inputs: Properties) -> tuple[str, Properties]:
        kind, known = self._kind(request), self._rules(request)
        work = ResourceOperation(request, inputs=_with_generated_name(known, _without_defaults(inputs)))
        try:
            made, found = kind.make(work)
        except PartlyMadeError as error:
            raise PartlyMadeError(_with_urn(request, "creating", error), error.id, error.outputs) from None
        except ProviderError as error:
            raise ProviderError(_with_urn(request, "creating", error)) from None
        return made, _state(kind, work, found)

    def read(
        self, request: PluginRequest[AwsSession], identity: str, state: Properties, inputs: Properties
    ) -> tuple[str, Properties, Properties] | None:
        kind, known = self._kind(request), self._rules(request)
        found_id, at, region = identity.partition("@") if not state and known.regional else (identity, "", "")
        importing = not state
        recorded = state or {**kind.recorded(found_id), **({"region": region} if at else {})}
        work = ResourceOperation(request, id=found_id, state=recorded, old_inputs=inputs)
        try:
            found = kind.find(work)
        except ProviderError as error:
            raise ProviderError(_with_urn(request, "reading", error)) from None
        if found is None:
            return None
        new = _state(kind, work, found)
        fresh = _imported_inputs(known, new) if importing else _refreshed_inputs(known, inputs, state, new)
        return work.id, new, fresh

    def update(
        self,
        request: PluginRequest[AwsSession],
        identity: str,
        state: Properties,
        old_inputs: Properties,
        news: Properties,
    ) -> Properties:
        kind = self._kind(request)
        changed = {path.split(".")[0].split("[")[0] for path in self.diff(request, old_inputs, state, news).changes}
        work = ResourceOperation(request, identity, _without_defaults(news), old_inputs, state, frozenset(changed))
        try:
            found = kind.change(work)
        except ProviderError as error:
            raise ProviderError(_with_urn(request, "updating", error)) from None
        return _state(kind, work, found)

    def delete(self, request: PluginRequest[AwsSession], identity: str, state: Properties) -> None:
        try:
            self._kind(request).remove(ResourceOperation(request, identity, state=state))
        except ProviderError as error:
            raise ProviderError(_with_urn(request, "deleting", error)) from None

    def invoke(self, session: AwsSession, token: str, arguments: Properties) -> tuple[Properties, list[Failure]]:
        return functions.invoke(session, token, arguments)

    def follows(self, secret: set[str]) -> set[str]:
        return secret | {"tagsAll"} if "tags" in secret else secret

    def _rules(self, request: PluginRequest[AwsSession]) -> AwsTypeRules:
        try:
            return rules(request.type)
        except KeyError:
            raise ProviderError(
                f"the stand-in plugin does not know the type {request.type}: plugins/aws/types.json lists "
                "the known ones; with the real plugin installed, the twin uses that one"
            ) from None

    def _kind(self, request: PluginRequest[AwsSession]) -> AwsResourceKind:
        self._rules(request)
        return kind_of(request.type)


def _state(kind: AwsResourceKind, work: ResourceOperation, found: Properties) -> Properties:
    """Returns the state to record: the properties found, in the configured form where they are equivalent."""
    known, session = work.rules, work.session
    configured = {**work.state, **work.inputs}
    readable = kind.readable(work)
    new = {
        n: v for n, v in configured.items() if n in known.properties and n not in readable and n not in known.outputs
    }
    for name, value in found.items():
        new[name] = _as_configured(known, name, configured.get(name), value)
    for name in readable - set(found):
        if _is_empty(configured.get(name)) and name in configured:
            new[name] = configured[name]
    if known.tagged:
        new["tags"] = tags.own(session, new.get("tagsAll") or {}, configured.get("tags") or {})
        if not new["tags"] and "tags" not in configured:
            del new["tags"]
    if known.regional:
        new["region"] = work.region
    return {n: equivalence.compact(v) if _is_policy(known, n, v) else v for n, v in new.items()}


def _as_configured(known: AwsTypeRules, path: str, configured: Any, found: Any) -> Any:
    if configured is None or configured == found or equivalence.same(known, path, configured, found):
        return found if configured is None else configured
    if isinstance(configured, dict) and isinstance(found, dict):
        kept = {n: v for n, v in configured.items() if n not in found and _is_empty(v)}
        inside = {n: _as_configured(known, f"{path}.{n}", configured.get(n), v) for n, v in found.items()}
        return kept | inside
    if isinstance(configured, list) and isinstance(found, list) and len(configured) == len(found):
        return [_as_configured(known, f"{path}[]", c, f) for c, f in zip(configured, found, strict=True)]
    return found


def _refreshed_inputs(known: AwsTypeRules, inputs: Properties, state: Properties, new: Properties) -> Properties:
    """Returns the inputs adjusted to the live properties, so that a later `up` detects and reverts changes made
    elsewhere.
    """
    fresh = copy.deepcopy(inputs)
    for name, value in inputs.items():
        if name == DEFAULTS or (name not in known.inputs and name != "tagsAll"):
            continue
        if name not in new:
            if not _is_empty(value):
                del fresh[name]
        elif not equivalence.same(known, name, value, new[name]):
            fresh[name] = _projected(known, name, value, new[name], state.get(name))
    for name in set(known.inputs) - set(inputs) - known.computed:
        if name in new and not _is_empty(new[name]) and new[name] != state.get(name):
            fresh[name] = new[name]
    return fresh


def _projected(known: AwsTypeRules, path: str, given: Any, new: Any, before: Any) -> Any:
    """Returns the new value with only the given members, and those that have appeared since."""
    if isinstance(given, dict) and isinstance(new, dict):
        before = before if isinstance(before, dict) else {}
        kept = {}
        for name, value in new.items():
            if name in given:
                kept[name] = _projected(known, f"{path}.{name}", given[name], value, before.get(name))
            elif value != before.get(name) and f"{path}.{name}" not in known.computed and not _is_empty(value):
                kept[name] = value
        return kept | {n: v for n, v in given.items() if n not in new and _is_empty(v)}
    if isinstance(given, list) and isinstance(new, list) and len(given) == len(new):
        befores = before if isinstance(before, list) and len(before) == len(new) else [None] * len(new)
        return [_projected(known, f"{path}[]", g, n, b) for g, n, b in zip(given, new, befores, strict=True)]
    return given if equivalence.same(known, path, given, new) else new


def _imported_inputs(known: AwsTypeRules, new: Properties) -> Properties:
    inputs = {n: v for n, v in new.items() if n in known.inputs and not (_is_empty(v) and n not in known.required)}
    inputs |= {n: v for n, v in known.defaults.items() if "." not in n and "[" not in n and n not in inputs}
    return inputs | {DEFAULTS: []}


def _inputs_of(known: AwsTypeRules, state: Properties) -> Properties:
    """Returns the recorded inputs, for an engine that does not send them."""
    return {n: v for n, v in state.items() if n in known.inputs or n == "tagsAll"}


def _without_defaults(inputs: Properties) -> Properties:
    if has_unknown(inputs):
        raise ProviderError("an input is unknown, so the resource can't be created")
    return {n: v for n, v in inputs.items() if n != DEFAULTS}


def _with_generated_name(known: AwsTypeRules, inputs: Properties) -> Properties:
    """Returns inputs with a name generated by the upstream provider's rule, if Pulumi generated none because a prefix
    was given.
    """
    name: str = known.autoname["property"] if known.autoname else ""
    if not name or inputs.get(name):
        return inputs
    beginning = inputs.get(f"{name}Prefix") or inputs.get("namePrefix") or "terraform-"
    return {**inputs, name: beginning + secrets.token_hex(13)}


def _is_policy(known: AwsTypeRules, name: str, value: Any) -> bool:
    return isinstance(value, str) and known.rules.get(name, {}).get("json") == "policy"


def _is_empty(value: Any) -> bool:
    return value in (None, "", [], {}, False, 0)


def _with_urn(request: PluginRequest[AwsSession], doing: str, error: ProviderError) -> str:
    return f"{doing} {request.urn}: 1 error occurred:\n\t* {error}\n"
