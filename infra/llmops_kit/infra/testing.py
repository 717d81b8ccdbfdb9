"""Runs Pulumi programs without an engine and without a cloud, and returns what they declared.

The kit's own unit tests use it, and so can tests of programs that are made of its components:

    from llmops_kit.infra.testing import run_program

    def test_the_endpoint_has_two_instances() -> None:
        declared = run_program(program, project="office", stack="dev")
        (configuration,) = declared.all_of("aws:sagemaker/endpointConfiguration:EndpointConfiguration")
        assert configuration["productionVariants"][0]["initialInstanceCount"] == 2

It uses Pulumi's mocks (https://www.pulumi.com/docs/iac/guides/testing/unit/): no resource is created, and an output
equals its input, or is one of `computed`. Components look things up in the account before they declare anything, so a
test needs a twin, which the fixtures of `llmops-twins` start.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import pulumi
from pulumi.runtime import mocks, resource, rpc, set_all_config
from pulumi.runtime import stack as runtime_stack
from pulumi.runtime.proto import source_pb2
from pulumi.runtime.settings import set_root_resource

PUBLIC_KEY = (
    "-----BEGIN PUBLIC KEY-----\n"
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt\n"
    "6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==\n"
    "-----END PUBLIC KEY-----\n"
)
"""Of every signing key, in PEM."""
# Outputs that the engine knows only after the provider has run.
_COMPUTED = {
    "url": "http://127.0.0.1:40001",
    "public_key": PUBLIC_KEY,
    "reference": f"docker:serving@sha256:{'d' * 64}",
    "initial_instances": 1,
    "model_number": 1,
    "number": 1,
    "prefix_list_id": "pl-s3",
    "key_id": "a-key-id",
}
_CALLS = {"aws:kms/getPublicKey:getPublicKey": {"publicKeyPem": _COMPUTED["public_key"]}}


@dataclass
class Declared:
    """Result of a run of the program: inputs by URN, and the stack's outputs."""

    resources: dict[str, dict[str, Any]] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)
    aliases: int = 0
    """Number of aliases of all resources."""

    def of(self, name: str) -> dict[str, Any]:
        """Returns the inputs of the resource with this logical name."""
        return next(inputs for urn, inputs in self.resources.items() if urn.endswith(f"::{name}"))

    def has(self, name: str) -> bool:
        """Returns whether a resource has this logical name."""
        return any(urn.endswith(f"::{name}") for urn in self.resources)

    def all_of(self, kind: str) -> list[dict[str, Any]]:
        """Returns the inputs of every resource of a type."""
        return [inputs for urn, inputs in self.resources.items() if resource_type(urn) == kind]

    def types(self) -> set[str]:
        """Returns the types of all resources, such as aws:iam/role:Role."""
        return {resource_type(urn) for urn in self.resources}


def resource_type(urn: str) -> str:
    """Returns a resource's own type, without those of the components that it is below."""
    return urn.split("::")[2].rpartition("$")[2]


class _Mocks(mocks.Mocks):
    def __init__(self, declared: Declared, preview: bool, computed: dict[str, Any]) -> None:
        self.declared = declared
        self.preview = preview
        self.computed = _COMPUTED | computed
        self.urn = ""
        """URN of the resource that is being registered; that of the SDK's own mocks leaves out grandparents."""

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        inputs = {k: v for k, v in args.inputs.items() if k != "__provider"}
        self.declared.resources[self.urn] = inputs
        known = {**self.computed, "arn": f"arn:of:{args.name}", "repository_url": f"registry/{args.name}"}
        if args.typ.startswith("azure-native:"):
            known["name"] = args.name
        computed = {k: rpc.UNKNOWN if self.preview else v for k, v in known.items()}
        return (None if self.preview else args.name), _merged(computed, _responded(args.inputs))

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        return _CALLS[args.token], []


def _responded(inputs: dict[str, Any]) -> dict[str, Any]:
    """Returns inputs as in a cloud's response: Azure takes a list of assigned identities, and returns them by id."""
    given = inputs.get("identity") or {}
    if not isinstance(given, dict) or "userAssignedIdentities" not in given:
        return inputs
    if not all(isinstance(id_, str) for id_ in given["userAssignedIdentities"]):
        return inputs | {"identity": rpc.UNKNOWN}  # in a preview
    by_id = {id_: {"clientId": "client", "principalId": "principal"} for id_ in given["userAssignedIdentities"]}
    return inputs | {"identity": given | {"userAssignedIdentities": by_id}}


def _merged(computed: dict[str, Any], inputs: dict[str, Any]) -> dict[str, Any]:
    """Returns the outputs: computed values and inputs, merged within objects too."""
    both = {key for key, value in inputs.items() if isinstance(value, dict) and isinstance(computed.get(key), dict)}
    return {**computed, **inputs, **{key: {**computed[key], **inputs[key]} for key in both}}


class _Monitor(mocks.MockMonitor):
    def make_urn(self, parent: str, type_: str, name: str) -> str:
        above = parent.split("::")[2] if parent else ""
        joined = type_ if above in ("", "pulumi:pulumi:Stack") else f"{above}${type_}"
        return f"urn:pulumi:{pulumi.get_stack()}::{pulumi.get_project()}::{joined}::{name}"

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802 (the protocol's name)
        assert isinstance(self.mocks, _Mocks)
        self.mocks.declared.aliases += len(request.aliases) + len(request.aliasURNs)
        self.mocks.urn = self.make_urn(request.parent, request.type, request.name)
        return super().RegisterResource(request)

    def RegisterResourceOutputs(self, request: Any) -> Any:  # noqa: N802 (the protocol's name)
        assert isinstance(self.mocks, _Mocks)
        if request.urn.split("::")[2] == "pulumi:pulumi:Stack":
            self.mocks.declared.outputs = rpc.deserialize_properties(request.outputs, keep_unknowns=True)
        return super().RegisterResourceOutputs(request)


def run_program(
    program: Callable[[], None],
    *,
    project: str,
    stack: str,
    config: Mapping[str, str] | None = None,
    preview: bool = False,
    computed: Mapping[str, Any] | None = None,
) -> Declared:
    """Runs a program under mocks and returns what it declared.

    Args:
        program: declares resources.
        project: name of its Pulumi project.
        stack: name of its stack.
        config: by key, with the project's name and a colon before it.
        preview: whether outputs of resources are unknown.
        computed: outputs that resources have beside their inputs.

    Raises:
        Exception: what the program raises.
    """
    declared = Declared()
    with _event_loop() as loop:
        set_all_config(dict(config or {}))
        fakes = _Mocks(declared, preview, dict(computed or {}))
        mocks.set_mocks(fakes, project=project, stack=stack, preview=preview, monitor=_Monitor(fakes))
        set_root_resource(None)  # type: ignore[arg-type]  # forgets the last run's stack
        # Only an engine uses a resource's stack trace; with pytest's frames, it takes a quarter of the time.
        with mock.patch.object(resource, "_get_stack_trace", source_pb2.StackTrace):
            loop.run_until_complete(runtime_stack.run_in_stack(program))
    return declared


class _InlineExecutor(ThreadPoolExecutor):
    """Executes the SDK's requests in the loop's own thread: handing them to others takes a quarter of the time."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as e:
            future.set_exception(e)
        return future


@contextmanager
def _event_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Yields the event loop in which the program and the mocks run."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        loop.set_default_executor(_InlineExecutor())
        yield loop
    finally:
        asyncio.set_event_loop(None)
        loop.close()
