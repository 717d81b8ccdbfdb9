"""Runs the whole Pulumi program under mocks, and keeps what it declared."""

import asyncio
import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from unittest import mock

import pulumi
from pulumi.runtime import mocks, resource, rpc, set_all_config, stack
from pulumi.runtime.proto import source_pb2
from pulumi.runtime.settings import set_root_resource
from ruamel.yaml import YAML

from contract.documents.model import GateResult, ModelManifest
from contract.documents.outputs import StackOutputs
from contract.documents.store import Alias
from contract.integrity.digest import sha256_bytes
from contract.layout import MANIFEST, alias_key, model_key
from tests.support.checkout import CHECKOUT, EXAMPLES

PROJECT = YAML(typ="safe", pure=True).load((CHECKOUT / "Pulumi.yaml").read_text())
# What the engine knows only after the provider has run.
_COMPUTED = {
    "url": "http://127.0.0.1:40001",
    "public_key": "-----BEGIN PUBLIC KEY-----\n",
    "reference": f"docker:serving@sha256:{'d' * 64}",
    "initial_instances": 1,
    "model_number": 1,
    "number": 1,
    "prefix_list_id": "pl-s3",
    "key_id": "a-key-id",
}
_CALLS = {"aws:kms/getPublicKey:getPublicKey": {"publicKeyPem": _COMPUTED["public_key"]}}


RUN = "chatbot-0001"


def run_spec(image: str) -> dict[str, Any]:
    """The fields of a run's spec."""
    return {
        "schema": "run/2",
        "id": RUN,
        "created": "2026-11-25T00:00:00Z",
        "recipe": json.loads((EXAMPLES / "run-2.json").read_text())["recipe"],
        "dataset": {"name": "facts", "sha256": "d" * 64},
        "base_model": {"name": "base", "sha256": "b" * 64},
        "image": image,
        "kit_version": "0.1.0",
    }


@dataclass
class Declared:
    """What a run of the program declared: inputs by URN, and the stack's outputs."""

    resources: dict[str, dict[str, Any]] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)
    aliases: int = 0
    """Of all resources."""

    def of(self, name: str) -> dict[str, Any]:
        """Inputs of the resource with this logical name."""
        return next(inputs for urn, inputs in self.resources.items() if urn.endswith(f"::{name}"))

    def has(self, name: str) -> bool:
        """Is there a resource with this logical name?"""
        return any(urn.endswith(f"::{name}") for urn in self.resources)

    def all_of(self, kind: str) -> list[dict[str, Any]]:
        """Inputs of every resource of a type."""
        return [inputs for urn, inputs in self.resources.items() if urn.split("::")[2] == kind]

    def types(self) -> set[str]:
        """Types of all resources, such as aws:iam/role:Role."""
        return {urn.split("::")[2] for urn in self.resources}


class _Mocks(mocks.Mocks):
    def __init__(self, declared: Declared, preview: bool, computed: dict[str, Any]) -> None:
        self.declared = declared
        self.preview = preview
        self.computed = _COMPUTED | computed

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        inputs = {k: v for k, v in args.inputs.items() if k != "__provider"}
        self.declared.resources[f"urn:pulumi:demo::llmops::{args.typ}::{args.name}"] = inputs
        known = {**self.computed, "arn": f"arn:of:{args.name}", "repository_url": f"registry/{args.name}"}
        if args.typ.startswith("azure-native:"):
            known["name"] = args.name
        computed = {k: rpc.UNKNOWN if self.preview else v for k, v in known.items()}
        return (None if self.preview else args.name), _merged(computed, _answered(args.inputs))

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        return _CALLS[args.token], []


def _answered(inputs: dict[str, Any]) -> dict[str, Any]:
    """Inputs as a cloud answers them: Azure takes a list of assigned identities, and tells of each by its id."""
    given = inputs.get("identity") or {}
    if not isinstance(given, dict) or "userAssignedIdentities" not in given:
        return inputs
    if not all(isinstance(id_, str) for id_ in given["userAssignedIdentities"]):
        return inputs | {"identity": rpc.UNKNOWN}  # in a preview
    told = {id_: {"clientId": "client", "principalId": "principal"} for id_ in given["userAssignedIdentities"]}
    return inputs | {"identity": given | {"userAssignedIdentities": told}}


def _merged(computed: dict[str, Any], inputs: dict[str, Any]) -> dict[str, Any]:
    """Outputs: what is computed beside the inputs, within an object too."""
    both = {key for key, value in inputs.items() if isinstance(value, dict) and isinstance(computed.get(key), dict)}
    return {**computed, **inputs, **{key: {**computed[key], **inputs[key]} for key in both}}


class _Monitor(mocks.MockMonitor):
    def RegisterResource(self, request: Any) -> Any:  # noqa: N802 (the protocol's name)
        assert isinstance(self.mocks, _Mocks)
        self.mocks.declared.aliases += len(request.aliases) + len(request.aliasURNs)
        return super().RegisterResource(request)

    def RegisterResourceOutputs(self, request: Any) -> Any:  # noqa: N802 (the protocol's name)
        assert isinstance(self.mocks, _Mocks)
        self.mocks.declared.outputs = rpc.deserialize_properties(request.outputs, keep_unknowns=True)
        return super().RegisterResourceOutputs(request)


def run_program(
    config: dict[str, Any],
    *,
    stack_name: str = "demo",
    preview: bool = False,
    computed: dict[str, Any] | None = None,
    part: Callable[[], None] | None = None,
) -> Declared:
    """Run infra's program in the current folder, with Pulumi.yaml's defaults under `config` (keys: without prefix).

    `computed`: outputs that resources have beside their inputs. `part`: a part of the program, instead of all of it.
    """
    from infra.__main__ import main

    declared = Declared()
    defaults = {key: entry["default"] for key, entry in PROJECT["config"].items()}
    values = {k: v if isinstance(v, str) else json.dumps(v) for k, v in {**defaults, **config}.items()}
    with _event_loop() as loop:
        set_all_config({f"llmops:{k}": v for k, v in values.items()} | {"elsewhere:key": "is not ours"})
        fakes = _Mocks(declared, preview, computed or {})
        mocks.set_mocks(fakes, project="llmops", stack=stack_name, preview=preview, monitor=_Monitor(fakes))
        set_root_resource(None)  # type: ignore[arg-type]  # forgets the last run's stack
        # Where in the source a resource stands is for an engine: a quarter of the time, with pytest's own frames.
        with mock.patch.object(resource, "_get_stack_trace", source_pb2.StackTrace):
            loop.run_until_complete(stack.run_in_stack(part or main))
    return declared


class _InlineExecutor(ThreadPoolExecutor):
    """Answers the SDK's requests in the loop's own thread: handing each to another takes a quarter of the time."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as e:
            future.set_exception(e)
        return future


@contextmanager
def _event_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop in which the program runs, mocks included."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        loop.set_default_executor(_InlineExecutor())
        yield loop
    finally:
        asyncio.set_event_loop(None)
        loop.close()


def add_version(store: Path, alias: str, *, passed: bool | None = True, named: str = "") -> str:
    """Put the documents of a model version, without weights, into a store; what a promotion of it writes.

    Args:
        store: the folder.
        alias: name@number.
        passed: whether its gate was passed; None: it has none.
        named: the name in its manifest, where that is another one.
    """
    name, number = alias.split("@")
    manifest = ModelManifest.new(
        name=named or name,
        created=f"2026-11-25T00:00:{int(number):02d}Z",
        engines=["transformers"],
        dtype="F32",
        files={},
        lineage={},
        gate=None if passed is None else GateResult(passed=passed, reasons=["new-phrasings: 0.12 is below 0.80"]),
        golden=[{"messages": [{"role": "user", "content": "?"}], "expect": []}],
    )
    sha256 = sha256_bytes(manifest.to_json().encode())
    manifest.write(store / model_key(sha256) / MANIFEST)
    document = Alias.new(name=name, number=int(number), sha256=sha256, created=manifest.created)
    document.write(store / alias_key(name, int(number)))
    return f"{alias}@sha256:{sha256}"


def expect_refusal(config: dict[str, Any]) -> str:
    """The words with which the program refuses a configuration; nothing may be declared by then."""
    try:
        declared = run_program(config)
    except pulumi.RunError as e:
        return str(e)
    raise AssertionError(f"not refused; declared {list(declared.resources)}")


class Provisioner(Protocol):
    """An account in which the program runs for a cloud's stack."""

    def add_version(self, alias: str) -> str: ...

    def provision(self, config: dict[str, Any]) -> Declared: ...


def targets_of_one_entry(account: Provisioner) -> list[str]:
    """The targets on which the endpoint of Pulumi.local.yaml's comments was declared with equal weights: this machine,
    in the current folder, and a cloud.
    """
    lines = (CHECKOUT / "Pulumi.local.yaml").read_text().splitlines()
    shown = [line.removeprefix("  # ") for line in lines if line.startswith("  # ") and "`llmops" not in line]
    endpoints = YAML(typ="safe", pure=True).load("\n".join(shown))["llmops:endpoints"]
    endpoints["chatbot"]["model"] = account.add_version("chatbot@1")
    there = account.provision({"endpoints": endpoints})
    Path("Pulumi.yaml").write_text((CHECKOUT / "Pulumi.yaml").read_text())
    add_version(Path(".llmops/demo/store"), "chatbot@1")
    here = run_program({"endpoints": endpoints})
    both = [StackOutputs.parse(json.dumps(each.outputs), where="outputs") for each in (here, there)]
    assert both[0].endpoints["chatbot"].sha256 == both[1].endpoints["chatbot"].sha256
    return [each.target for each in both]
