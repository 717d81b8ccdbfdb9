"""A program that declares by hand what a deployed stack of the kit has: the same resources through the plain SDK.

`write` records a stack's state once. The program it leaves registers every resource again by type, name and inputs,
each after those that it depends on, so that the engine finds nothing to change. Neither `infra` nor a look-up runs.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pulumi

DECLARATIONS = "declarations.json"
_SECRET = "4dabf18193072939515e22adb298388d"  # the engine's mark of a secret in a state
_PROVIDERS = "pulumi:providers:"


def write(folder: Path, state: Mapping[str, Any], sdk: str) -> int:
    """Write the program of a state (`pulumi stack export --show-secrets`) into a project's folder.

    Args:
        folder: of the project.
        state: what the engine exported.
        sdk: the cloud's SDK, such as pulumi_aws.

    Returns:
        How many resources it declares.
    """
    resources = state["deployment"]["resources"]
    (folder / DECLARATIONS).write_text(json.dumps(resources))
    classes = sorted({f"{sdk}.{name}" for r in resources if (name := _class_of(r["type"], sdk))})
    lines = [f"import {sdk}", "from bench.plain_program import declare", *classes, f"declare('{DECLARATIONS}')"]
    (folder / "__main__.py").write_text("\n".join(lines) + "\n")
    return len(resources)


def _class_of(type_: str, sdk: str) -> str:
    """`aws:s3/bucket:Bucket` -> `s3.Bucket`, which a program by hand names, so that the SDK loads it."""
    package, module, name = type_.split(":")
    return f"{module.partition('/')[0]}.{name}" if package.replace("-", "_") == sdk.removeprefix("pulumi_") else ""


def declare(file: str) -> None:
    """Register the recorded resources and export the stack's outputs."""
    made: dict[str, pulumi.Resource] = {}
    recorded = json.loads(Path(file).read_text())
    versions = {f"{r['urn']}::{r['id']}": (r.get("inputs") or {}).get("version") for r in recorded if _is_provider(r)}
    for resource in recorded:
        if resource["type"] == "pulumi:pulumi:Stack":
            for name, value in (resource.get("outputs") or {}).items():
                pulumi.export(name, _plain(value))
        elif not (_is_provider(resource) and resource["urn"].rpartition("::")[2].startswith("default")):
            made[resource["urn"]] = _register(resource, made, versions.get(resource.get("provider")))


def _register(resource: Mapping[str, Any], made: Mapping[str, pulumi.Resource], version: str | None) -> pulumi.Resource:
    type_, name = resource["type"], resource["urn"].rpartition("::")[2]
    inputs = _plain(resource.get("inputs") or {})
    options = pulumi.ResourceOptions(
        parent=made.get(resource.get("parent", "")),
        depends_on=[made[urn] for urn in resource.get("dependencies") or []],
        protect=resource.get("protect"),
        version=version,
    )
    if _is_provider(resource):
        options.version = inputs.pop("version", None)
        return pulumi.ProviderResource(type_.removeprefix(_PROVIDERS), name, inputs, options)
    if not resource["custom"]:
        return pulumi.ComponentResource(type_, name, inputs, options)
    if provider := made.get(resource.get("provider", "").rpartition("::")[0]):
        assert isinstance(provider, pulumi.ProviderResource)
        options.provider, options.version = provider, None
    return pulumi.CustomResource(type_, name, inputs, options)


def _is_provider(resource: Mapping[str, Any]) -> bool:
    return resource["type"].startswith(_PROVIDERS)


def _plain(value: Any) -> Any:
    """A recorded value as a program gives it: without the provider's notes on defaults, secrets as such."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if not isinstance(value, dict):
        return value
    if _SECRET in value:
        return pulumi.Output.secret(json.loads(value["plaintext"]))
    return {key: _plain(each) for key, each in value.items() if key != "__defaults"}
