"""Model package groups and the versions in them.

https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateModelPackage.html
"""

from llmops_twins.aws import sagemaker_documents as store
from llmops_twins.aws.calls import ApiCall, AwsApiError
from llmops_twins.aws.sagemaker_documents import GROUP, PACKAGE, Listing
from llmops_twins.aws.service_documents import Document, now, plain, shelf, tag_map
from llmops_twins.aws.twin import AccountTwin

_GROUPS = Listing(
    "ModelPackageGroupSummaryList",
    (
        *("ModelPackageGroupName", "ModelPackageGroupArn", "ModelPackageGroupDescription"),
        *("CreationTime", "ModelPackageGroupStatus"),
    ),
)
_PACKAGES = Listing(
    "ModelPackageSummaryList",
    (
        *("ModelPackageName", "ModelPackageGroupName", "ModelPackageVersion", "ModelPackageArn"),
        *("ModelPackageDescription", "CreationTime", "ModelPackageStatus", "ModelApprovalStatus", "ModelLifeCycle"),
        "ModelPackageRegistrationType",
    ),
)
_DEFAULT_APPROVAL = "PendingManualApproval"


class Packages:
    """Operations on model package groups and model packages."""

    def __init__(self, twin: AccountTwin) -> None:
        self._twin = twin

    def create_model_package_group(self, call: ApiCall) -> Document:
        arn = store.arn_of(self._twin, GROUP, call.region, call.parameters["ModelPackageGroupName"])
        if arn in store.documents(self._twin, GROUP, call.region):
            raise AwsApiError("ValidationException", f"Model Package Group already exists: {arn}")
        store.create(self._twin, GROUP, call, ModelPackageGroupStatus="Completed", CreatedBy={})
        return {"ModelPackageGroupArn": arn}

    def describe_model_package_group(self, call: ApiCall) -> Document:
        return self._group(call, call.parameters["ModelPackageGroupName"])

    def list_model_package_groups(self, call: ApiCall) -> Document:
        return store.page_of(call, GROUP, store.documents(self._twin, GROUP, call.region), _GROUPS)

    def delete_model_package_group(self, call: ApiCall) -> None:
        group = self._group(call, call.parameters["ModelPackageGroupName"])
        if self._of_group(call, group):
            message = (
                f"Model Package Group {group['ModelPackageGroupArn']} can't be deleted: it has Model Packages in it."
            )
            raise AwsApiError("ConflictException", message)
        store.drop(self._twin, GROUP, group)

    def create_model_package(self, call: ApiCall) -> Document:
        given = plain(call.parameters)
        token = given.pop("ClientToken", "")
        if made := self._made_by(call, token, given):
            return {"ModelPackageArn": made}
        wanted = dict(given)
        if bool(given.get("ModelPackageGroupName")) == bool(given.get("ModelPackageName")):
            message = "Exactly one of ModelPackageName and ModelPackageGroupName must be provided."
            raise AwsApiError("ValidationException", message)
        document = (
            self._versioned(call, given) if given.get("ModelPackageGroupName") else self._unversioned(call, given)
        )
        tags = document.pop("Tags", None)
        arn = document["ModelPackageArn"]
        times = {"CreationTime": now(), "LastModifiedTime": now()}
        status = {"ModelPackageStatus": "Completed", "ModelPackageStatusDetails": {"ValidationStatuses": []}}
        store.documents(self._twin, PACKAGE, call.region)[arn] = document | times | status | {"CreatedBy": {}}
        store.tags_of(self._twin, arn).update(tag_map(tags))
        if token:
            shelf(self._twin, "sagemaker", "package_tokens", call.region)[token] = {"arn": arn, "request": wanted}
        return {"ModelPackageArn": arn}

    def _made_by(self, call: ApiCall, token: str, given: Document) -> str:
        """Returns the package that an earlier call with this token made: "a unique token that guarantees that the
        call to this API is idempotent" (API_CreateModelPackage). Empty if there is none.
        """
        known = shelf(self._twin, "sagemaker", "package_tokens", call.region).get(token) if token else None
        if known is None or known["arn"] not in store.documents(self._twin, PACKAGE, call.region):
            return ""
        if known["request"] != given:
            # unsure (60 %): ConflictException is the only error but a limit that the operation's model declares
            raise AwsApiError("ConflictException", f"ClientToken {token} was used with other parameters.")
        return known["arn"]

    def describe_model_package(self, call: ApiCall) -> Document:
        return self._package(call, call.parameters["ModelPackageName"])

    def list_model_packages(self, call: ApiCall) -> Document:
        found = store.documents(self._twin, PACKAGE, call.region)
        if name := call.parameters.get("ModelPackageGroupName"):
            found = self._of_group(call, self._group(call, name))
        else:
            kind = call.parameters.get("ModelPackageType", "Unversioned")
            found = {
                arn: document
                for arn, document in found.items()
                if kind == "Both" or ("ModelPackageVersion" in document) == (kind == "Versioned")
            }
        if approval := call.parameters.get("ModelApprovalStatus"):
            found = {arn: doc for arn, doc in found.items() if doc.get("ModelApprovalStatus") == approval}
        return store.page_of(call, PACKAGE, found, _PACKAGES)

    def update_model_package(self, call: ApiCall) -> Document:
        given = plain(call.parameters)
        package = self._package(call, given.pop("ModelPackageArn"))
        given.pop("ClientToken", None)
        for key in given.pop("CustomerMetadataPropertiesToRemove", []):
            package.get("CustomerMetadataProperties", {}).pop(key, None)
        if added := given.pop("CustomerMetadataProperties", None):
            package.setdefault("CustomerMetadataProperties", {}).update(added)
        if added := given.pop("AdditionalInferenceSpecificationsToAdd", None):
            package.setdefault("AdditionalInferenceSpecifications", []).extend(added)
        package.update(given, LastModifiedTime=now())
        return {"ModelPackageArn": package["ModelPackageArn"]}

    def delete_model_package(self, call: ApiCall) -> None:
        store.drop(self._twin, PACKAGE, self._package(call, call.parameters["ModelPackageName"]))

    def _group(self, call: ApiCall, name: str) -> Document:
        """Returns a group by its name or its ARN."""
        return store.find(self._twin, GROUP, call.region, name.rpartition("/")[2])

    def _package(self, call: ApiCall, name: str) -> Document:
        """Returns a package by its ARN, or an unversioned one by its name."""
        arn = name if name.startswith("arn:") else store.arn_of(self._twin, PACKAGE, call.region, name)
        found = store.documents(self._twin, PACKAGE, call.region).get(arn.lower())
        if found is None:
            raise store.missing(PACKAGE, arn)
        return found

    def _of_group(self, call: ApiCall, group: Document) -> dict[str, Document]:
        name = group["ModelPackageGroupName"]
        packages = store.documents(self._twin, PACKAGE, call.region)
        return {arn: package for arn, package in packages.items() if package.get("ModelPackageGroupName") == name}

    def _versioned(self, call: ApiCall, given: Document) -> Document:
        group = self._group(call, given["ModelPackageGroupName"])
        # A version number is never reused, even if the last version was deleted.
        version = group["last"] = group.get("last", 0) + 1
        name = group["ModelPackageGroupName"]
        arn = store.arn_of(self._twin, PACKAGE, call.region, f"{name}/{version}")
        given.setdefault("ModelApprovalStatus", _DEFAULT_APPROVAL)
        return {**given, "ModelPackageGroupName": name, "ModelPackageVersion": version, "ModelPackageArn": arn}

    def _unversioned(self, call: ApiCall, given: Document) -> Document:
        arn = store.arn_of(self._twin, PACKAGE, call.region, given["ModelPackageName"])
        if arn in store.documents(self._twin, PACKAGE, call.region):
            raise AwsApiError("ConflictException", f"Model Package already exists: {arn}")
        return {**given, "ModelPackageArn": arn}
