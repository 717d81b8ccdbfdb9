"""Models, environments, data and code: containers by name, and immutable versions.

https://learn.microsoft.com/rest/api/azureml/model-versions

Unsure (65 %): the rules are the reference's, which names no codes; codes and messages are assumed.
"""

import re
from dataclasses import dataclass
from typing import Any

from llmops_twins.azure.arm import arm
from llmops_twins.azure.ml import references
from llmops_twins.azure.ml.ml_bodies import WORKSPACES, judged, refuse_changes, same, writable
from llmops_twins.azure.ml.ml_documents import page, stamp
from llmops_twins.azure.protocol.arm_errors import ArmError
from llmops_twins.azure.protocol.calls import ArmCall, Document, Reply
from llmops_twins.azure.protocol.kinds import ResourceKind
from llmops_twins.azure.twin import TenantTwin

_POSITIVE = re.compile(r"[1-9][0-9]{0,9}")
_LARGEST = 2**31 - 1
MODEL_TYPES = ("custom_model", "mlflow_model", "triton_model")


@dataclass(frozen=True)
class _Family:
    """A kind of asset: its path segment, its schema definitions, members of a version that can't be changed beyond the
    schema's, whether it has a provisioning state, and whether it can be deleted.
    """

    segment: str
    container: str
    version: str
    fixed: tuple[str, ...]
    provisioning: bool
    deletable: bool = False


FAMILIES = (
    _Family("models", "ModelContainer", "ModelVersion", ("modelUri", "modelType", "jobName", "flavors"), True, True),
    _Family("environments", "EnvironmentContainer", "EnvironmentVersion", (), True),
    _Family("data", "DataContainer", "DataVersionBase", ("dataUri", "dataType"), False),
    _Family("codes", "CodeContainer", "CodeVersion", ("codeUri",), True),
)


def install(twin: TenantTwin) -> None:
    """Registers the kinds of each family."""
    for family in FAMILIES:
        _install(twin, family)


def _install(twin: TenantTwin, family: _Family) -> None:
    container, version = f"{WORKSPACES}/{family.segment}", f"{WORKSPACES}/{family.segment}/versions"
    name = r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}"

    def put_container(twin: TenantTwin, call: ArmCall, there: Document | None) -> Document:
        return _put_container(twin, family, call, there)

    def put_version(twin: TenantTwin, call: ArmCall, there: Document | None) -> Document:
        return _put_version(twin, family, call, there)

    def list_versions(twin: TenantTwin, call: ArmCall, document: Document) -> Reply:
        found = twin.children(document["id"], version)
        wanted = call.query.get("version") if family.segment == "models" else None
        return page(twin, call, [each for each in found if wanted in (None, each["name"])])

    def list_containers(twin: TenantTwin, call: ArmCall, document: Document) -> Reply:
        return page(twin, call, twin.children(document["id"], container))

    common: dict[str, Any] = {"name": name, "provisioning": family.provisioning, "patch": False}
    common["deleting"] = None if family.deletable else _undeletable
    twin.kind(ResourceKind(container, put=put_container, show=_show, implicit=True, **common))
    twin.kind(ResourceKind(version, put=put_version, **common))
    twin.action(container, "versions", list_versions, f"{version}/read", "GET")
    twin.action(WORKSPACES, family.segment, list_containers, f"{container}/read", "GET")


def _undeletable(_twin: TenantTwin, _call: ArmCall, document: Document) -> None:
    """Refuses to delete an asset, by the strict reading of the sources: the maintainers say so for data
    (https://github.com/microsoft/vscode-tools-for-ai/issues/1761), and the tools can no longer delete environments
    (https://github.com/Azure/azure-cli/issues/21957). Models can be deleted:
    https://github.com/Azure/azureml-examples/pull/3743.

    Unsure (45 %): the tools only archive, and no source says that the API refuses to delete.

    Raises:
        ArmError: 400.
    """
    what = document["type"].removeprefix(f"{WORKSPACES}/")
    message = f"Deleting {what} is not supported: archive {document['name']} instead."
    raise ArmError(400, "UserError", message)


def _put_container(twin: TenantTwin, family: _Family, call: ArmCall, there: Document | None) -> Document:
    body = judged(family.container, call.method, call.body)
    if there:
        what = f"{family.segment} {there['name']}"
        refuse_changes(family.container, writable(family.container, there), body, what)
    body["properties"].setdefault("isArchived", False)
    return stamp(call, there, body)


def _show(twin: TenantTwin, document: Document) -> Document:
    versions = twin.children(document["id"], f"{document['type']}/versions")
    versions.sort(key=lambda each: each["systemData"]["createdAt"])
    latest = versions[-1]["name"] if versions else None
    numbers = [int(each["name"]) for each in versions if each["name"].isdigit()]
    return {
        **document,
        "properties": {
            **document["properties"],
            "latestVersion": latest,
            "nextVersion": str(max(numbers, default=0) + 1),
        },
    }


def _put_version(twin: TenantTwin, family: _Family, call: ArmCall, there: Document | None) -> Document:
    body = judged(family.version, call.method, call.body)
    properties = body["properties"]
    workspace = references.workspace_of(call.id)
    if family.segment == "models":
        _check_number(call.id.rpartition("/")[2])
    checks = {"ModelVersion": _check_model, "EnvironmentVersion": _check_environment, "DataVersionBase": _check_data}
    if check := checks.get(family.version):
        check(twin, workspace, properties)
    if there:
        _check_unchanged(family, there, body)
    defaults = {"isArchived": False, "isAnonymous": False, "tags": {}, "properties": {}}
    if family.segment == "models":
        defaults["flavors"] = {}
    properties |= {name: value for name, value in defaults.items() if properties.get(name) is None}
    container = call.id.rpartition("/versions/")[0]
    if twin.find(container) is None:
        kind = {"dataType": properties["dataType"]} if family.segment == "data" else {}
        arm.put(twin, container, {"properties": kind}, call.caller)
    return stamp(call, there, body)


def _check_unchanged(family: _Family, there: Document, body: Document) -> None:
    what = f"{family.segment} {there['name']}"
    old, new = writable(family.version, there), body
    for name in family.fixed:
        if not same(old["properties"].get(name), new["properties"].get(name)):
            message = f"{name} of version {there['name']} of {family.segment} can't be changed: versions are immutable."
            raise ArmError(400, "UserError", message, f"properties.{name}")
    for name in ("isAnonymous", "osType", "autoRebuild"):  # a PUT may omit members that have defaults
        if name in old["properties"]:
            new["properties"].setdefault(name, old["properties"][name])
    refuse_changes(family.version, old, new, what)


def _check_number(version: str) -> None:
    """Checks that a model's version is a positive integer; versions of data, environments and components may be any
    string.

    Field reports: https://github.com/Azure/azureml-examples/issues/2725 and
    https://github.com/Azure/MachineLearningNotebooks/issues/289; another one has the message and the inner code.

    Raises:
        ArmError: 400.
    """
    if not _POSITIVE.fullmatch(version) or int(version) > _LARGEST:
        message = "Model version must be a positive integer."
        details = [{"code": "ModelVersionOutOfRange", "message": message}]
        raise ArmError(400, "UserError", message, "version", details)


def _check_model(twin: TenantTwin, workspace: str, properties: Document) -> None:
    properties.setdefault("modelType", "custom_model")
    if properties["modelType"] not in MODEL_TYPES:
        message = f"modelType is one of {', '.join(MODEL_TYPES)}."
        raise ArmError(400, "ValidationError", message, "properties.modelType")
    if not properties.get("modelUri"):
        raise ArmError(400, "ValidationError", "modelUri is required.", "properties.modelUri")
    _check_uri(twin, workspace, properties["modelUri"], "properties.modelUri")


def _check_environment(twin: TenantTwin, workspace: str, properties: Document) -> None:
    if bool(properties.get("image")) == bool(properties.get("build")):
        message = "An environment version has either an image or a build context."
        raise ArmError(400, "UserError", message, "properties.image")
    if properties.get("build") or properties.get("condaFile"):
        message = "This twin builds no images: give an image without a build context or a conda file."
        raise ArmError(400, "UserError", message, "properties.build")
    properties.setdefault("osType", "Linux")
    properties.setdefault("autoRebuild", "Disabled")
    properties["environmentType"] = "UserCreated"


def _check_data(twin: TenantTwin, workspace: str, properties: Document) -> None:
    _check_uri(twin, workspace, properties["dataUri"], "properties.dataUri")


def _check_uri(twin: TenantTwin, workspace: str, uri: str, target: str) -> None:
    if references.data_path(twin, workspace, uri, target) is None and not uri.startswith(
        ("azureml://jobs/", "https://")
    ):
        raise ArmError(
            400, "UserError", f"{uri} is not a path of a datastore (azureml://…/datastores/…/paths/…).", target
        )
