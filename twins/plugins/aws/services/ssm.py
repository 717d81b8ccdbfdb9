"""Systems Manager: parameters."""

from typing import Any

from twins.plugins.aws.calls import Work
from twins.plugins.aws.kinds import Kind
from twins.plugins.aws.tags import Tagging

VALUES = ("value", "insecureValue", "valueWo")


class Parameter(Kind):
    """A parameter: its value is one of three inputs, and what it is comes from two calls."""

    def parameters(self, work: Work, operation: str) -> dict[str, Any]:
        found = super().parameters(work, operation)
        found["Value"] = next(work.inputs[name] for name in VALUES if work.inputs.get(name) is not None)
        found["Overwrite"] = bool(work.state) if work.inputs.get("overwrite") is None else work.inputs["overwrite"]
        if work.inputs.get("type") != "SecureString":
            found.pop("KeyId", None)
        return found

    def call_read(self, work: Work) -> dict[str, Any] | None:
        told = super().call_read(work)
        filters = [{"Key": "Name", "Option": "Equals", "Values": [work.id]}]
        described = work.call("ssm", "DescribeParameters", ParameterFilters=filters)["Parameters"]
        return {**(described[0] if described else {}), **(told or {})}

    def properties_of(self, work: Work, answer: dict[str, Any]) -> dict[str, Any]:
        found = super().properties_of(work, answer)
        if work.properties.get("insecureValue") is not None:
            found["insecureValue"] = answer["Value"]
        elif work.properties.get("valueWoVersion") is not None:
            found["hasValueWo"] = True
        else:
            found["value"] = answer["Value"]
        if answer.get("Type") != "SecureString":
            found.pop("keyId", None)
        return found

    def readable(self, work: Work) -> set[str]:
        outputs = {"arn", "version", "hasValueWo", "keyId", "tier", "description", "allowedPattern", "dataType"}
        return outputs | {"name", "type", "value", "insecureValue", "tagsAll"}

    @property
    def silent(self) -> frozenset[str]:
        return frozenset({"overwrite"})


KINDS = (
    Parameter(
        "aws:ssm/parameter:Parameter",
        "ssm",
        "SSM Parameter",
        "{name}",
        create="PutParameter",
        read="GetParameter",
        update="PutParameter",
        delete="DeleteParameter",
        identity={"Name": "{id}"},
        read_identity={"Name": "{id}"},
        pick="Parameter",
        renames={"value": "-", "insecureValue": "-", "valueWo": "-", "overwrite": "-"},
        tags=Tagging(
            "AddTagsToResource",
            "RemoveTagsFromResource",
            "ListTagsForResource",
            {"ResourceType": "Parameter", "ResourceId": "{id}"},
        ),
        gone=("ParameterNotFound",),
    ),
)
