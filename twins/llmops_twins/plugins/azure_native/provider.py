"""The stand-in for Pulumi's azure-native plugin: each type by its URL and API version, from types.json."""

import copy
import importlib.metadata
import logging
from typing import Any

from llmops_twins.plugins.azure_native import bodies, checks, differ, functions, special
from llmops_twins.plugins.azure_native.arm import AcceptedError, ArmResponseError, Deadline
from llmops_twins.plugins.azure_native.bodies import Properties
from llmops_twins.plugins.azure_native.checks import VERSION
from llmops_twins.plugins.azure_native.rules import TypeRules, rules
from llmops_twins.plugins.azure_native.session import PluginSession, check_config, open_session
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

_STABLE = ("name", "location")
"""Outputs that an update never changes."""

log = logging.getLogger(__name__)


class AzureNativeProvider(Provider[PluginSession]):
    """The provider. `twin` is the default address, used if neither a provider's own inputs nor the environment name
    one.
    """

    name = "azure-native"
    records_wanted_inputs = True

    def __init__(self, twin: str = "") -> None:
        self._twin = twin
        self.version = importlib.metadata.version("pulumi_azure_native")

    def check_config(self, config: Properties) -> list[Failure]:
        return check_config(config)

    def configure(self, config: Properties, peer: str) -> PluginSession:
        return open_session(config, self._twin, environment_of(peer), self.version)

    def check(
        self, request: PluginRequest[PluginSession], olds: Properties, news: Properties, naming: Naming
    ) -> tuple[Properties, list[Failure]]:
        known = _rules(request)
        inputs = checks.with_defaults(known, request, olds, checks.without_nulls(news), naming)
        return inputs, checks.failures(known, inputs)

    def diff(
        self, request: PluginRequest[PluginSession], old_inputs: Properties, state: Properties, news: Properties
    ) -> Differences:
        return differ.diff(_rules(request), old_inputs, state, news)

    def preview(
        self, request: PluginRequest[PluginSession], inputs: Properties, old_inputs: Properties, state: Properties
    ) -> Properties:
        known = _rules(request)
        outputs = bodies.previewed(inputs, known.outputs)
        outputs |= {name: state[name] for name in _STABLE if name in state}
        return outputs | {VERSION: known.api_version}

    def create(self, request: PluginRequest[PluginSession], inputs: Properties) -> tuple[str, Properties]:
        known, session = _rules(request), request.session
        given = checks.complete(inputs)
        identity = bodies.resource_id(known, session.subscription, given)
        body = bodies.to_body(known, given, identity)
        _refuse_existing(session, known, identity)
        for path in known.maintained:
            place = known.api_path(path)
            if bodies.at(body, place) is None:
                bodies.put(body, place, [])
        answer = self._put(request, identity, given, body)
        made = answer.get("id")
        identity = made if isinstance(made, str) else identity
        return identity, self._state(request, identity, given, answer)

    def read(
        self, request: PluginRequest[PluginSession], identity: str, state: Properties, inputs: Properties
    ) -> tuple[str, Properties, Properties] | None:
        known = _rules(request)
        try:
            answer = self._get(request, identity, state or inputs)
        except ArmResponseError as error:
            if error.status == 404:
                return None
            raise
        outputs = bodies.from_body(known, answer) | {VERSION: known.api_version}
        if not inputs:
            return identity, outputs, bodies.inputs_of(known, answer, identity)
        before = copy.deepcopy(state)
        before = {n: v for n, v in before.items() if n not in inputs or v != known.defaults_on_removal.get(n)}
        shown = copy.deepcopy(outputs)
        for path in known.maintained:
            if bodies.at(inputs, tuple(path.split("."))) is None:
                _remove(shown, path.split("."))
                _remove(before, path.split("."))
        fresh = differ.refreshed(inputs, bodies.projected(known, before), bodies.projected(known, shown))
        return identity, outputs, fresh

    def update(
        self,
        request: PluginRequest[PluginSession],
        identity: str,
        state: Properties,
        old_inputs: Properties,
        news: Properties,
    ) -> Properties:
        known, session = _rules(request), request.session
        given = checks.complete(news)
        for name, value in known.defaults_on_removal.items():
            if name not in given and name in state:
                given[name] = value
        identity = bodies.resource_id(known, session.subscription, given)
        body = bodies.to_body(known, given, identity)
        method = "PATCH" if bodies.remove_from_sets(known, old_inputs, given, body) else "PUT"
        unset = [place for place in map(known.api_path, known.maintained) if bodies.at(body, place) is None]
        if unset:
            there = self._get(request, identity, given)
            for place in unset:
                if (value := bodies.at(there, place)) is not None:
                    bodies.put(body, place, value)
        answer = self._put(request, identity, given, body, method)
        return self._state(request, identity, given, answer)

    def delete(self, request: PluginRequest[PluginSession], identity: str, state: Properties) -> None:
        known, arm, deadline = _rules(request), request.session.reached(), _deadline(request)
        if known.data_plane_delete:
            special.delete_in_vault(arm, identity)
        elif known.singleton:
            arm.put(identity, {"api-version": known.api_version}, {}, "put" in known.waits, deadline)
        else:
            arm.delete(identity, known.api_version, "delete" in known.waits, deadline)

    def invoke(self, session: PluginSession, token: str, arguments: Properties) -> tuple[Properties, list[Failure]]:
        return functions.invoke(session, token, arguments)

    def _put(
        self,
        request: PluginRequest[PluginSession],
        identity: str,
        given: Properties,
        body: Properties,
        method: str = "PUT",
    ) -> Properties:
        """Creates or changes a resource, and returns the response.

        Raises:
            PartlyMadeError: the request was accepted, but failed later; with the resource's present state.
        """
        known = _rules(request)
        query = {"api-version": known.api_version}
        query |= {parameter: _text(given[name]) for name, parameter in known.query.items() if name in given}
        try:
            arm, deadline = request.session.reached(), _deadline(request)
            return arm.put(identity, query, body, "put" in known.waits, deadline, method)
        except AcceptedError as error:
            told, outputs = str(error), {}
            try:
                outputs = bodies.from_body(known, self._get(request, identity, given))
            except ProviderError as unread:
                told = f"resource created but read failed {unread}: {told}"
            raise PartlyMadeError(told, identity, outputs | {VERSION: known.api_version}) from None

    def _get(self, request: PluginRequest[PluginSession], identity: str, known_inputs: Properties) -> Properties:
        known, session = _rules(request), request.session
        query = {"api-version": known.api_version, **special.read_query(known, known_inputs, session.tenant)}
        return session.reached().get(identity, query)

    def _state(
        self, request: PluginRequest[PluginSession], identity: str, given: Properties, answer: Properties
    ) -> Properties:
        """Returns the state to record: the resource as it is read after it was written."""
        known = _rules(request)
        if request.session.reads_after_writes:
            try:
                answer = self._get(request, identity, given)
            except ProviderError as error:
                log.warning("%s could not be read after it was written: %s", identity, error)
        return bodies.from_body(known, answer) | {VERSION: known.api_version}


def _rules(request: PluginRequest[PluginSession]) -> TypeRules:
    try:
        return rules(request.type)
    except KeyError:
        raise ProviderError(
            f"the stand-in plugin does not know the type {request.type}: plugins/azure_native/types.json lists "
            "the known ones; with the real plugin installed, the twin uses that one"
        ) from None


def _refuse_existing(session: PluginSession, known: TypeRules, identity: str) -> None:
    try:
        found = session.reached().get(identity, {"api-version": known.api_version}, accepted=(200, 204))
    except ArmResponseError as error:
        if error.status == 404:
            return
        raise ProviderError(f"cannot check existence of resource '{identity}': {error}") from None
    if found and not known.singleton:
        raise ProviderError(f"cannot create already existing resource '{identity}'")


def _deadline(request: PluginRequest[PluginSession]) -> Deadline:
    stopping = request.session.stopping
    return Deadline(request.timeout, lambda: request.active() and not stopping.is_set())


def _remove(values: dict[str, Any], path: list[str]) -> None:
    for name in path[:-1]:
        values = values.get(name) or {}
    values.pop(path[-1], None)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
