"""EC2's security groups and their rules."""

from dataclasses import dataclass
from typing import Any

from llmops_twins.plugins.aws.calls import AwsError, ResourceOperation
from llmops_twins.plugins.aws.equivalence import PROTOCOLS
from llmops_twins.plugins.aws.kinds import MINUTE, AwsResourceKind

PORTS = {"fromPort": "FromPort", "toPort": "ToPort"}
SOURCES = {
    "cidrIpv4": ("CidrIpv4", "IpRanges", "CidrIp"),
    "cidrIpv6": ("CidrIpv6", "Ipv6Ranges", "CidrIpv6"),
    "prefixListId": ("PrefixListId", "PrefixListIds", "PrefixListId"),
    "referencedSecurityGroupId": ("ReferencedGroupId", "UserIdGroupPairs", "GroupId"),
}
"""Property -> member of a changed rule, list of a new permission, key in that list."""


class SecurityGroup(AwsResourceKind):
    """A security group. AWS's default rule, which allows all egress, is removed from a new one."""

    def complete(self, work: ResourceOperation, answer: dict[str, Any]) -> None:
        work.wait(lambda: self.find(work) is not None, 10 * MINUTE, f"EC2 Security Group ({work.id}) create")
        everything = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
        try:
            work.call("ec2", "RevokeSecurityGroupEgress", GroupId=work.id, IpPermissions=[everything])
        except AwsError as error:
            if not error.is_one_of(("InvalidPermission.NotFound",)):
                raise


@dataclass(frozen=True)
class SecurityGroupRule(AwsResourceKind):
    """One rule of a group; `direction` is Ingress or Egress. Tags have their own call."""

    direction: str = ""

    def parameters(self, work: ResourceOperation, operation: str) -> dict[str, Any]:
        description = {"Description": work.inputs["description"]} if work.inputs.get("description") else {}
        permission = _traffic(work.inputs)
        for name, value in _sources(work.inputs):
            _, member, key = SOURCES[name]
            permission[member] = [{key: value, **description}]
        return {"GroupId": work.inputs["securityGroupId"], "IpPermissions": [permission]}

    def id_after_create(self, work: ResourceOperation, answer: dict[str, Any]) -> str:
        return answer["SecurityGroupRules"][0]["SecurityGroupRuleId"]

    def properties_of(self, work: ResourceOperation, answer: dict[str, Any]) -> dict[str, Any]:
        found = {
            "securityGroupId": answer["GroupId"],
            "securityGroupRuleId": work.id,
            "ipProtocol": answer["IpProtocol"],
            "cidrIpv4": answer.get("CidrIpv4"),
            "cidrIpv6": answer.get("CidrIpv6"),
            "prefixListId": answer.get("PrefixListId"),
            "description": answer.get("Description"),
            "referencedSecurityGroupId": answer.get("ReferencedGroupInfo", {}).get("GroupId"),
        }
        for name, api in PORTS.items():
            port = answer.get(api)
            if port is not None and not (port == -1 and work.properties.get(name) is None):
                found[name] = port
        return {name: value for name, value in found.items() if value not in (None, "")}

    def call_update(self, work: ResourceOperation) -> None:
        changed = {**_traffic(work.inputs), **{SOURCES[n][0]: v for n, v in _sources(work.inputs)}}
        if work.inputs.get("description"):
            changed["Description"] = work.inputs["description"]
        changes = [{"SecurityGroupRuleId": work.id, "SecurityGroupRule": changed}]
        group = work.inputs["securityGroupId"]
        work.call("ec2", "ModifySecurityGroupRules", GroupId=group, SecurityGroupRules=changes)

    def call_delete(self, work: ResourceOperation) -> None:
        operation = f"RevokeSecurityGroup{self.direction}"
        work.call("ec2", operation, GroupId=work.state["securityGroupId"], SecurityGroupRuleIds=[work.id])

    def readable(self, work: ResourceOperation) -> set[str]:
        return {*work.rules.properties} - {"region", "tags"}


def _traffic(given: dict[str, Any]) -> dict[str, Any]:
    """Returns protocol and ports as API parameters."""
    ports = {api: given[n] for n, api in PORTS.items() if given.get(n) is not None}
    return {"IpProtocol": PROTOCOLS.get(given["ipProtocol"], given["ipProtocol"]), **ports}


def _sources(given: dict[str, Any]) -> list[tuple[str, str]]:
    """Returns the sources or destinations of the traffic as (property, value); for a group in another account, its id
    alone.
    """
    return [
        (name, given[name].rpartition("/")[2] if "Group" in name else given[name])
        for name in SOURCES
        if given.get(name)
    ]
