"""The plugin's functions: the caller's identity, getters of every type, and actions that list keys."""

from typing import Any

from llmops_twins.plugins.azure_native import bodies
from llmops_twins.plugins.azure_native.bodies import Properties
from llmops_twins.plugins.azure_native.checks import VERSION
from llmops_twins.plugins.azure_native.rules import TypeRules, actions, rules, tokens
from llmops_twins.plugins.azure_native.session import PluginSession
from llmops_twins.plugins.plugin import Failure, ProviderError


def invoke(session: PluginSession, token: str, arguments: Properties) -> tuple[Properties, list[Failure]]:
    """Returns a function's result, and violations in its arguments.

    Raises:
        ProviderError: the function is unknown, or Resource Manager refuses.
    """
    _, _, name = token.rpartition(":")
    if name == "getClientConfig":
        return _client_config(session), []
    if name == "getClientToken":
        arm = session.reached()
        return {"token": arm.token(arguments.get("endpoint") or arm.audience)}, []
    if token in actions():
        kind, action = actions()[token]
        return _called(session, rules(kind), arguments, action)
    getter = token.replace(":get", ":", 1)
    if name.startswith("get") and getter in tokens():
        return _called(session, rules(getter), arguments, "")
    raise ProviderError(
        f"the stand-in plugin does not know the function {token}: plugins/azure_native/types.json lists those "
        "that it knows; with the real plugin installed, the twin uses that one"
    )


def _client_config(session: PluginSession) -> Properties:
    claims = session.claims()
    return {
        "clientId": session.client or claims.get("appid", ""),
        "objectId": claims.get("oid", ""),
        "subscriptionId": session.subscription,
        "tenantId": session.tenant or claims.get("tid", ""),
    }


def _called(
    session: PluginSession, known: TypeRules, arguments: Properties, action: str
) -> tuple[Properties, list[Failure]]:
    absent = [name for name in known.parameters.values() if name not in arguments]
    if absent:
        return {}, [Failure("", f"missing required property '{name}'") for name in absent]
    identity = bodies.resource_id(known, session.subscription, arguments)
    query = {"api-version": known.api_version}
    if action:
        path, accepted = f"{identity}/{action}", (200, 201)
        answer: Any = session.reached().send("POST", path, query, {}, accepted=accepted).http_response.json()
        return answer if isinstance(answer, dict) else {"value": answer}, []
    answer = session.reached().get(identity, query)
    return {"id": answer.get("id", identity), **bodies.from_body(known, answer), VERSION: known.api_version}, []
