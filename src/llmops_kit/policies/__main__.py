"""Serves the rules as a Pulumi policy pack, by the engine's protocol for analyzers.

The engine starts it for `pulumi up --policy-pack policies`, and calls it before it creates or changes a resource, and
once for the whole stack. Pulumi's policy SDK is not used: it does not pass the stack's configuration, which has the
accepted rules, to a pack, and its releases (up to 1.21) can't be installed beside protobuf 6.
https://github.com/pulumi/pulumi/blob/master/proto/pulumi/analyzer.proto
"""

import os
import sys
import threading
import time
from collections.abc import Iterable
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import empty_pb2, json_format
from pulumi.runtime.proto import analyzer_pb2, analyzer_pb2_grpc, plugin_pb2

from llmops_kit.policies.model import SECRET, SIGNATURE, Resource, Stack, Violation, plain_type
from llmops_kit.policies.rules import judge_resource, judge_stack
from llmops_kit.settings.reading import SettingsOrigin, own_keys, parse_settings
from llmops_kit.settings.rule_names import RULES

NAME, VERSION = "llmops", "1.0.0"
_LARGEST_MESSAGE = 400 << 20
"""Maximum size of a message, as in Pulumi's SDK: one message has all resources of a stack."""
_LOOK_SECONDS = 0.5


class Pack(analyzer_pb2_grpc.AnalyzerServicer):
    """Checks one update of one stack."""

    def __init__(self) -> None:
        self._accepted: dict[str, str] = {}

    def Handshake(self, request: Any, context: Any) -> Any:  # noqa: N802 (the protocol's names)
        return analyzer_pb2.AnalyzerHandshakeResponse()

    def GetPluginInfo(self, request: Any, context: Any) -> Any:  # noqa: N802
        return plugin_pb2.PluginInfo(version=VERSION)

    def GetAnalyzerInfo(self, request: Any, context: Any) -> Any:  # noqa: N802
        level = analyzer_pb2.EnforcementLevel.MANDATORY
        policies = [analyzer_pb2.PolicyInfo(name=n, description=w, enforcementLevel=level) for n, w in RULES.items()]
        return analyzer_pb2.AnalyzerInfo(name=NAME, version=VERSION, policies=policies)

    def ConfigureStack(self, request: Any, context: Any) -> Any:  # noqa: N802
        origin = SettingsOrigin(request.project, Path(f"Pulumi.{request.stack}.yaml"))
        values = own_keys(request.config, request.project)
        self._accepted = parse_settings(values, origin, ["accepted_rules"]).accepted_rules
        return analyzer_pb2.AnalyzerStackConfigureResponse()

    def Configure(self, request: Any, context: Any) -> Any:  # noqa: N802
        return empty_pb2.Empty()

    def Cancel(self, request: Any, context: Any) -> Any:  # noqa: N802
        return empty_pb2.Empty()

    def Remediate(self, request: Any, context: Any) -> Any:  # noqa: N802
        return analyzer_pb2.RemediateResponse()

    def Analyze(self, request: Any, context: Any) -> Any:  # noqa: N802
        # Unknown values are checked before their resource is created, when the engine knows them.
        return self._answer(judge_resource(_resource(request), set()))

    def AnalyzeStack(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._answer(judge_stack(Stack(map(_resource, request.resources)), set()))

    def _answer(self, violations: Iterable[Violation]) -> Any:
        return analyzer_pb2.AnalyzeResponse(diagnostics=[self._diagnostic(each) for each in violations])

    def _diagnostic(self, violation: Violation) -> Any:
        levels = analyzer_pb2.EnforcementLevel
        reason = self._accepted.get(violation.rule)
        return analyzer_pb2.AnalyzeDiagnostic(
            policyName=violation.rule,
            policyPackName=NAME,
            policyPackVersion=VERSION,
            description=RULES[violation.rule],
            message=f"{violation.what}; " + (f"accepted: {reason}" if reason else f"fix: {violation.fix}"),
            enforcementLevel=levels.ADVISORY if reason or violation.advisory else levels.MANDATORY,
            urn=violation.urn,
        )


def main() -> None:
    """Serves until the engine ends this process, or the parent process is gone."""
    parent = os.getppid()
    options = [("grpc.max_receive_message_length", _LARGEST_MESSAGE)]
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4), options=options)
    analyzer_pb2_grpc.add_AnalyzerServicer_to_server(Pack(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    threading.Thread(target=server.wait_for_termination, daemon=True).start()
    while os.getppid() == parent:
        time.sleep(_LOOK_SECONDS)


def _resource(message: Any) -> Resource:
    properties = _plain(json_format.MessageToDict(message.properties))
    return Resource(plain_type(message.type), message.name, properties, message.options.protect, message.urn)


def _plain(value: Any) -> Any:
    """Returns a value without the engine's wrappers of secrets."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        if value.get(SIGNATURE) == SECRET:
            return _plain(value.get("value"))
        return {key: _plain(each) for key, each in value.items()}
    return value


if __name__ == "__main__":
    sys.exit(main())
