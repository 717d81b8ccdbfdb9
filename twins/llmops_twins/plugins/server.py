"""Pulumi's gRPC protocol for resource plugins, on top of a cloud's `Provider`.

The protocol is documented with the engine:
https://pulumi-developer-docs.readthedocs.io/latest/docs/_generated/proto/provider.html One process serves several
provider resources, each with its own connection, and so its own configuration.
"""

import contextlib
import copy
import logging
import re
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic

import grpc
from google.protobuf import any_pb2, empty_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc, status_pb2

from llmops_twins.plugins.plugin import (
    Differences,
    Failure,
    Naming,
    PartlyMadeError,
    PluginRequest,
    Provider,
    ProviderError,
    S,
)
from llmops_twins.plugins.values import decode, encode

MESSAGE_BYTES = 400 << 20
WORKERS = 256
"""Number of threads; a resource that is being waited for occupies one."""
CONNECTIONS = 1000
"""Number of configurations kept; an engine creates one or two per command."""

log = logging.getLogger(__name__)


@contextlib.contextmanager
def serving(provider: Provider[Any], port: int = 0) -> Iterator[int]:
    """Serves a provider on this machine's loopback address, and provides the port.

    Raises:
        RuntimeError: the port is taken.
    """
    options = [
        ("grpc.max_receive_message_length", MESSAGE_BYTES),
        ("grpc.max_send_message_length", MESSAGE_BYTES),
        ("grpc.so_reuseport", 0),
    ]
    server = grpc.server(ThreadPoolExecutor(WORKERS, thread_name_prefix="provider"), options=options)
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(Servicer(provider), server)
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        yield bound
    finally:
        server.stop(grace=None).wait()


class Servicer(provider_pb2_grpc.ResourceProviderServicer, Generic[S]):
    """Implements the protocol. A session belongs to the connection that configured it."""

    def __init__(self, provider: Provider[S]) -> None:
        self._provider = provider
        self._sessions: OrderedDict[str, S] = OrderedDict()
        self._lock = threading.Lock()

    # The protocol's names, in the order in which an engine calls them.

    def Handshake(self, request: Any, context: Any) -> Any:  # noqa: N802
        return provider_pb2.ProviderHandshakeResponse(accept_secrets=True, supports_autonaming_configuration=True)

    def Attach(self, request: Any, context: Any) -> Any:  # noqa: N802
        return empty_pb2.Empty()

    def GetPluginInfo(self, request: Any, context: Any) -> Any:  # noqa: N802
        return plugin_pb2.PluginInfo(version=self._provider.version)

    def GetSchema(self, request: Any, context: Any) -> Any:  # noqa: N802
        schema = f'{{"name": "{self._provider.name}", "version": "{self._provider.version}"}}'
        return provider_pb2.GetSchemaResponse(schema=schema)

    def CheckConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        with _reporting_errors(context):
            news, _ = decode(request.news)
            failures = self._provider.check_config(news)
            return provider_pb2.CheckResponse(inputs=request.news, failures=_failures(failures))

    def DiffConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        with _reporting_errors(context):
            olds, news = decode(request.old_inputs)[0], decode(request.news)[0]
            changed = [n for n in sorted({*olds, *news} - {"version"}) if olds.get(n) != news.get(n)]
            kinds = provider_pb2.DiffResponse.DiffChanges
            return provider_pb2.DiffResponse(changes=kinds.DIFF_SOME if changed else kinds.DIFF_NONE, diffs=changed)

    def Configure(self, request: Any, context: Any) -> Any:  # noqa: N802
        with _reporting_errors(context):
            config, _ = decode(request.args)
            for key, value in request.variables.items():
                config.setdefault(key.rpartition(":")[2], value)
            session = self._provider.configure(config, context.peer())
            with self._lock:
                self._sessions[context.peer()] = session
                while len(self._sessions) > CONNECTIONS:
                    self._sessions.popitem(last=False)
            return provider_pb2.ConfigureResponse(
                acceptSecrets=True, supportsPreview=True, supports_autonaming_configuration=True
            )

    def Check(self, request: Any, context: Any) -> Any:  # noqa: N802
        with _reporting_errors(context):
            olds, _ = decode(request.olds)
            news, secret = decode(request.news)
            options = request.autonaming if request.HasField("autonaming") else None
            naming = Naming(
                request.randomSeed,
                options.proposed_name if options else "",
                options.Mode.Name(options.mode).lower() if options else "",
            )
            inputs, failures = self._provider.check(self._request(request, context), olds, news, naming)
            secret = self._provider.follows(secret)
            return provider_pb2.CheckResponse(inputs=encode(inputs, secret), failures=_failures(failures))

    def Diff(self, request: Any, context: Any) -> Any:  # noqa: N802
        with _reporting_errors(context):
            state, old_inputs, news = (decode(m)[0] for m in (request.olds, request.old_inputs, request.news))
            if request.ignoreChanges:
                news = _ignoring(request.ignoreChanges, old_inputs, news)
            found = self._provider.diff(self._request(request, context), old_inputs, state, news)
            return _diff_response(found)

    def Create(self, request: Any, context: Any) -> Any:  # noqa: N802
        with _reporting_errors(context):
            inputs, secret = decode(request.properties)
            secret = self._provider.follows(secret)
            call = self._request(request, context)
            if request.preview:
                return provider_pb2.CreateResponse(
                    id="", properties=encode(self._provider.preview(call, inputs, {}, {}), secret)
                )
            try:
                made, outputs = self._provider.create(call, inputs)
            except PartlyMadeError as error:
                _abort_partly(context, error, request.properties, secret)
                raise
            return provider_pb2.CreateResponse(id=made, properties=encode(outputs, secret))

    def Read(self, request: Any, context: Any) -> Any:  # noqa: N802
        with _reporting_errors(context):
            state, state_secret = decode(request.properties)
            inputs, input_secret = decode(request.inputs)
            found = self._provider.read(self._request(request, context), request.id, state, inputs)
            if found is None:
                return provider_pb2.ReadResponse(id="")
            secret = self._provider.follows(state_secret | input_secret)
            return provider_pb2.ReadResponse(
                id=found[0], properties=encode(found[1], secret), inputs=encode(found[2], secret)
            )

    def Update(self, request: Any, context: Any) -> Any:  # noqa: N802
        with _reporting_errors(context):
            state, old_inputs = decode(request.olds)[0], decode(request.old_inputs)[0]
            news, secret = decode(request.news)
            if request.ignoreChanges:
                news = _ignoring(request.ignoreChanges, old_inputs, news)
            secret = self._provider.follows(secret)
            call = self._request(request, context)
            if request.preview:
                outputs = self._provider.preview(call, news, old_inputs, state)
                return provider_pb2.UpdateResponse(properties=encode(outputs, secret))
            try:
                outputs = self._provider.update(call, request.id, state, old_inputs, news)
            except PartlyMadeError as error:
                recorded = request.news if self._provider.records_wanted_inputs else request.old_inputs
                _abort_partly(context, error, recorded, secret)
                raise
            return provider_pb2.UpdateResponse(properties=encode(outputs, secret))

    def Delete(self, request: Any, context: Any) -> Any:  # noqa: N802
        with _reporting_errors(context):
            self._provider.delete(self._request(request, context), request.id, decode(request.properties)[0])
            return empty_pb2.Empty()

    def Invoke(self, request: Any, context: Any) -> Any:  # noqa: N802
        with _reporting_errors(context):
            arguments, _ = decode(request.args)
            session = self._session(context)
            result, failures = self._provider.invoke(session, request.tok, arguments)
            response = provider_pb2.InvokeResponse(failures=_failures(failures))
            getattr(response, "return").CopyFrom(encode(result))
            return response

    def Cancel(self, request: Any, context: Any) -> Any:  # noqa: N802
        with self._lock:
            session = self._sessions.get(context.peer())
        if session:
            session.stopping.set()
        return empty_pb2.Empty()

    def _session(self, context: Any) -> S:
        with self._lock:
            session = self._sessions.get(context.peer())
        if session is None:
            raise ProviderError("the provider was not configured on this connection")
        return session

    def _request(self, request: Any, context: Any) -> PluginRequest[S]:
        kind, _, name = request.urn.partition("::")[2].partition("::")[2].partition("::")
        return PluginRequest(
            session=self._session(context),
            urn=request.urn,
            type=request.type or kind.rpartition("$")[2],
            name=request.name or name,
            active=context.is_active,
            timeout=getattr(request, "timeout", 0.0),
        )


@contextlib.contextmanager
def _reporting_errors(context: Any) -> Iterator[None]:
    """Reports a provider's error to the engine with its own message, and any other as an internal error."""
    try:
        yield
    except ProviderError as error:
        context.abort(grpc.StatusCode.UNKNOWN, str(error))
    except Exception as error:
        if context.code() is None:  # otherwise `abort` raised it
            log.exception("the stand-in plugin failed")
            context.abort(grpc.StatusCode.INTERNAL, f"the stand-in plugin failed: {type(error).__name__}: {error}")
        raise


def _abort_partly(context: Any, error: PartlyMadeError, inputs: Any, secret: set[str]) -> None:
    detail = any_pb2.Any()
    detail.Pack(
        provider_pb2.ErrorResourceInitFailed(
            id=error.id, properties=encode(error.outputs, secret), inputs=inputs, reasons=[str(error)]
        )
    )
    status = status_pb2.Status(code=grpc.StatusCode.UNKNOWN.value[0], message=str(error), details=[detail])
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))


def _failures(failures: list[Failure]) -> list[Any]:
    return [provider_pb2.CheckFailure(property=f.property, reason=f.reason) for f in failures]


def _diff_response(found: Differences) -> Any:
    kinds = provider_pb2.PropertyDiff.Kind
    detailed = {
        path: provider_pb2.PropertyDiff(
            kind=kinds.Value(f"{change.kind}_replace".upper() if change.replaces else change.kind.upper()),
            inputDiff=True,
        )
        for path, change in found.changes.items()
    }
    tops = {path: re.split(r"[.\[]", path, maxsplit=1)[0] for path in found.changes}
    changes = provider_pb2.DiffResponse.DiffChanges
    return provider_pb2.DiffResponse(
        changes=changes.DIFF_SOME if detailed else changes.DIFF_NONE,
        diffs=sorted(set(tops.values())),
        replaces=sorted({tops[p] for p, c in found.changes.items() if c.replaces}),
        detailedDiff=detailed,
        hasDetailedDiff=True,
        deleteBeforeReplace=found.delete_before_replace,
    )


def _ignoring(paths: Any, old_inputs: Mapping[str, Any], news: dict[str, Any]) -> dict[str, Any]:
    """Returns the wanted inputs with the recorded values at paths in ignoreChanges; a path into a list covers the whole
    list.
    """
    news = copy.deepcopy(news)
    for path in paths:
        names = path.partition("[")[0].split(".")
        old: Any = old_inputs
        new: Any = news
        for name in names[:-1]:
            old, new = (each.get(name) if isinstance(each, Mapping) else None for each in (old, new))
        if not isinstance(new, dict):
            continue
        if isinstance(old, Mapping) and names[-1] in old:
            new[names[-1]] = old[names[-1]]
        else:
            new.pop(names[-1], None)
    return news
