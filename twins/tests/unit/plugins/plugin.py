"""The stand-in plugin without a twin, as an engine's connection sees it."""

import contextlib
from collections.abc import Iterator
from typing import Any

import grpc
from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc

from llmops_twins.plugins.aws.provider import AwsProvider
from llmops_twins.plugins.aws.session import AwsSession
from llmops_twins.plugins.server import serving
from llmops_twins.plugins.values import decode, encode


class Offline(AwsProvider):
    """The stand-in with a session that calls nobody."""

    def configure(self, config: dict[str, Any], peer: str) -> AwsSession:
        return AwsSession(region="eu-central-1", account="000000000000", default_tags={"team": "models"})


class Plugin:
    """A connection as the engine has one."""

    def __init__(self, stub: Any) -> None:
        self._stub = stub
        stub.Configure(provider_pb2.ConfigureRequest())

    def check(
        self, token: str, news: dict[str, Any], olds: dict[str, Any] | None = None, name: str = "one"
    ) -> tuple[dict[str, Any], dict[str, str]]:
        request = provider_pb2.CheckRequest(
            urn=urn(token, name), news=encode(news), olds=encode(olds or {}), randomSeed=b"seed"
        )
        answer = self._stub.Check(request)
        return decode(answer.inputs)[0], {f.property: f.reason for f in answer.failures}

    def diff(self, token: str, old: dict[str, Any], new: dict[str, Any], state: dict[str, Any] | None = None) -> Any:
        return self._stub.Diff(
            provider_pb2.DiffRequest(
                urn=urn(token), id="id", olds=encode(state or old), old_inputs=encode(old), news=encode(new)
            )
        )

    def preview(self, token: str, inputs: dict[str, Any]) -> dict[str, Any]:
        request = provider_pb2.CreateRequest(urn=urn(token), properties=encode(inputs), preview=True)
        return decode(self._stub.Create(request).properties)[0]


def urn(token: str, name: str = "one") -> str:
    return f"urn:pulumi:stack::project::{token}::{name}"


@contextlib.contextmanager
def connected() -> Iterator[Plugin]:
    """A connection to a plugin that is served meanwhile."""
    with serving(Offline()) as port, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Plugin(provider_pb2_grpc.ResourceProviderStub(channel))
