"""Writes versions of the store into the stack's model package group for other tools; the kit doesn't read them.

https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateModelPackage.html
"""

import re
from typing import Any

from llmops_kit.cli.interfaces.platform import Say
from llmops_kit.cli.platforms.aws.clients import AwsClients
from llmops_kit.clouds.aws.errors import explained
from llmops_kit.clouds.aws.names import serving_environment
from llmops_kit.core.documents.model import ModelManifest
from llmops_kit.core.documents.outputs import StackOutputs
from llmops_kit.core.layout import model_key
from llmops_kit.core.names import ModelRef

_LONGEST_VALUE = 256
_JSON = ["application/json"]
_NOT_ALLOWED = re.compile(r"[^\w.:/=+\-@]+")
"""The pattern of CustomerMetadataProperties, `[\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]*`, excludes commas and semicolons."""


def write_package(clients: AwsClients, outputs: StackOutputs, ref: ModelRef, manifest: ModelManifest, say: Say) -> None:
    """Writes a version of the store into the group, once; approved if its gate was passed."""
    assert outputs.aws
    group = outputs.aws.model_package_group
    if not outputs.aws.serving_image:
        say(f"{ref.alias} is not in model package group {group}: a package names an image, and llmops:images has none")
        return
    if str(ref) not in packages_of(clients, group):
        with explained(f"model package group {group}"):
            clients("sagemaker").create_model_package(
                ClientToken=ref.sha256[:36],  # so that only one of two concurrent writers succeeds
                ModelPackageGroupName=group,
                ModelPackageDescription=str(ref),
                **_approval(manifest),
                InferenceSpecification=_specification(outputs, ref),
                CustomerMetadataProperties=properties(ref, manifest),
            )


def packages_of(clients: AwsClients, group: str) -> set[str]:
    """Returns the versions in a group, as alias and identity."""
    with explained(f"model package group {group}"):
        pages = clients("sagemaker").get_paginator("list_model_packages").paginate(ModelPackageGroupName=group)
        return {p.get("ModelPackageDescription", "") for page in pages for p in page["ModelPackageSummaryList"]}


def properties(ref: ModelRef, manifest: ModelManifest) -> dict[str, str]:
    """Returns the manifest's facts, without the characters that SageMaker refuses."""
    return {k: _NOT_ALLOWED.sub(" ", v).strip()[:_LONGEST_VALUE] for k, v in _facts(ref, manifest).items() if v}


def _approval(manifest: ModelManifest) -> dict[str, str]:
    """Returns the approval status: https://docs.aws.amazon.com/sagemaker/latest/dg/model-registry-approve.html"""
    if manifest.gate is None:
        return {"ModelApprovalStatus": "PendingManualApproval"}
    return {"ModelApprovalStatus": "Approved" if manifest.gate.passed else "Rejected"}


def _specification(outputs: StackOutputs, ref: ModelRef) -> dict[str, Any]:
    assert outputs.aws
    source = {
        "S3Uri": f"{outputs.store.url}/{model_key(ref.sha256)}/",
        "S3DataType": "S3Prefix",
        "CompressionType": "None",
    }
    container = {
        "Image": outputs.aws.serving_image,
        "ModelDataSource": {"S3DataSource": source},
        "Environment": serving_environment(ref.alias, ref.sha256, outputs.signing.public_key),
    }
    return {"Containers": [container], "SupportedContentTypes": _JSON, "SupportedResponseMIMETypes": _JSON}


def _facts(ref: ModelRef, manifest: ModelManifest) -> dict[str, str]:
    """Returns the manifest's facts for a package's properties."""
    lineage = manifest.lineage
    found = {
        "sha256": ref.sha256,
        "licence": manifest.licence,
        "run": lineage.run,
        "recipe_sha256": lineage.recipe_sha256,
        "training_image": lineage.image,
        "kit_version": lineage.kit_version,
    }
    for kind in ("base_model", "dataset"):
        if pinned := getattr(lineage, kind):
            found[kind] = f"{pinned.name} sha256:{pinned.sha256}"
    for result in manifest.evaluation:
        found[f"{result.suite}_before"] = f"{result.before.value:.4f}"
        found[f"{result.suite}_after"] = f"{result.after.value:.4f}"
    if manifest.gate:
        found["gate"] = " / ".join(manifest.gate.reasons)
    return found
