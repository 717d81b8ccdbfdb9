"""Runs the whole Pulumi program under mocks, and keeps what it declared."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import pulumi
from ruamel.yaml import YAML

from llmops_kit.core.documents.model import GateResult, ModelManifest
from llmops_kit.core.documents.outputs import StackOutputs
from llmops_kit.core.documents.store import Alias
from llmops_kit.core.hashes import sha256_bytes
from llmops_kit.core.layout import MANIFEST, alias_key, model_key
from llmops_kit.infra import testing
from llmops_kit.infra.testing import Declared
from tests.support.checkout import CHECKOUT, EXAMPLES

PROJECT = YAML(typ="safe", pure=True).load((CHECKOUT / "Pulumi.yaml").read_text())


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
    from llmops_kit.infra.__main__ import main

    defaults = {key: entry["default"] for key, entry in PROJECT["config"].items()}
    values = {k: v if isinstance(v, str) else json.dumps(v) for k, v in {**defaults, **config}.items()}
    keys = {f"llmops:{k}": v for k, v in values.items()} | {"elsewhere:key": "is not ours"}
    program = part or main
    return testing.run_program(
        program, project="llmops", stack=stack_name, config=keys, preview=preview, computed=computed
    )


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
