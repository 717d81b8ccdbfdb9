"""EC2's security groups and their rules."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from twins.plugins.aws.calls import AwsError, Work
from twins.plugins.aws.equivalence import PROTOCOLS
from twins.plugins.aws.kinds import MINUTE, Kind
from twins.plugins.aws.services.ec2_tags import Ec2Tags

NO_GROUP = ("InvalidGroup.NotFound", "InvalidSecurityGroupID.NotFound")
NO_RULE = (*NO_GROUP, "InvalidSecurityGroupRuleId.NotFound")
DIRECTIONS = {"ingress": ("IpPermissions", "Ingress"), "egress": ("IpPermissionsEgress", "Egress")}
SOURCES = {
    "cidrBlocks": ("IpRanges", "CidrIp"),
    "ipv6CidrBlocks": ("Ipv6Ranges", "CidrIpv6"),
    "prefixListIds": ("PrefixListIds", "PrefixListId"),
    "securityGroups": ("UserIdGroupPairs", "GroupId"),
}


class SecurityGroup(Kind):
    """A security group: AWS's own rule, that all may leave, is taken from a new one."""

    def complete(self, work: Work, answer: dict[str, Any]) -> None:
        work.wait(lambda: self.call_read(work) is not None, 10 * MINUTE, f"EC2 Security Group ({work.id}) create")
        everything = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
        try:
            work.call("ec2", "RevokeSecurityGroupEgress", GroupId=work.id, IpPermissions=[everything])
        except AwsError as error:
            if not error.is_one_of(("InvalidPermission.NotFound",)):
                raise
        for direction in DIRECTIONS:
            self._authorise(work, direction, work.inputs.get(direction) or [])

    def call_read(self, work: Work) -> dict[str, Any] | None:
        try:
            return super().call_read(work)
        except AwsError as error:
            if error.is_one_of(NO_GROUP):
                return None
            raise

    def properties_of(self, work: Work, answer: dict[str, Any]) -> dict[str, Any]:
        owner = answer.get("OwnerId") or work.session.account
        return {
            "name": answer["GroupName"],
            "description": answer["Description"],
            "vpcId": answer.get("VpcId", ""),
            "ownerId": owner,
            "arn": f"arn:{work.session.partition}:ec2:{work.region}:{owner}:security-group/{work.id}",
            **{d: _told_rules(work.id, answer.get(member, [])) for d, (member, _) in DIRECTIONS.items()},
        }

    def change(self, work: Work) -> dict[str, Any]:
        for direction in DIRECTIONS:
            if direction in work.changed:
                old, new = (list(d.get(direction) or []) for d in (work.state, work.inputs))
                gone, added = [r for r in old if r not in new], [r for r in new if r not in old]
                if gone:
                    self._call(work, f"RevokeSecurityGroup{DIRECTIONS[direction][1]}", gone)
                self._authorise(work, direction, added)
        return super().change(work)

    def call_delete(self, work: Work) -> None:
        if work.state.get("revokeRulesOnDelete"):
            told = self.call_read(work) or {}
            for member, api in DIRECTIONS.values():
                if told.get(member):
                    work.call("ec2", f"RevokeSecurityGroup{api}", GroupId=work.id, IpPermissions=told[member])
        super().call_delete(work)

    def readable(self, work: Work) -> set[str]:
        return {"name", "description", "vpcId", "ownerId", "arn", "ingress", "egress", "tagsAll"}

    def _authorise(self, work: Work, direction: str, rules: list[dict[str, Any]]) -> None:
        if rules:
            self._call(work, f"AuthorizeSecurityGroup{DIRECTIONS[direction][1]}", rules)

    @staticmethod
    def _call(work: Work, operation: str, rules: Iterable[dict[str, Any]]) -> None:
        work.call("ec2", operation, GroupId=work.id, IpPermissions=[_permission(work.id, rule) for rule in rules])


@dataclass(frozen=True)
class Rule(Kind):
    """One rule of a group; `direction` is Ingress or Egress. Its tags are a call of their own."""

    direction: str = ""

    def parameters(self, work: Work, operation: str) -> dict[str, Any]:
        return {"GroupId": work.inputs["securityGroupId"], "IpPermissions": [self._permission(work)]}

    def id_after_create(self, work: Work, answer: dict[str, Any]) -> str:
        return answer["SecurityGroupRules"][0]["SecurityGroupRuleId"]

    def properties_of(self, work: Work, answer: dict[str, Any]) -> dict[str, Any]:
        owner = answer.get("GroupOwnerId") or work.session.account
        found = {
            "securityGroupId": answer["GroupId"],
            "securityGroupRuleId": work.id,
            "ipProtocol": answer["IpProtocol"],
            "cidrIpv4": answer.get("CidrIpv4"),
            "cidrIpv6": answer.get("CidrIpv6"),
            "prefixListId": answer.get("PrefixListId"),
            "description": answer.get("Description"),
            "referencedSecurityGroupId": answer.get("ReferencedGroupInfo", {}).get("GroupId"),
            "arn": f"arn:{work.session.partition}:ec2:{work.region}:{owner}:security-group-rule/{work.id}",
        }
        for name, api in (("fromPort", "FromPort"), ("toPort", "ToPort")):
            port = answer.get(api)
            if port is not None and not (port == -1 and work.properties.get(name) is None):
                found[name] = port
        return {name: value for name, value in found.items() if value not in (None, "")}

    def call_update(self, work: Work) -> None:
        request = {
            **_source(work.inputs),
            "IpProtocol": PROTOCOLS.get(work.inputs["ipProtocol"], work.inputs["ipProtocol"]),
        }
        request |= {api: work.inputs[n] for n, api in PORTS.items() if work.inputs.get(n) is not None}
        if work.inputs.get("description"):
            request["Description"] = work.inputs["description"]
        changes = [{"SecurityGroupRuleId": work.id, "SecurityGroupRule": request}]
        group = work.inputs["securityGroupId"]
        work.call("ec2", "ModifySecurityGroupRules", GroupId=group, SecurityGroupRules=changes)

    def call_delete(self, work: Work) -> None:
        operation = f"RevokeSecurityGroup{self.direction}"
        work.call("ec2", operation, GroupId=work.state["securityGroupId"], SecurityGroupRuleIds=[work.id])

    def readable(self, work: Work) -> set[str]:
        return {*work.rules.properties} - {"region", "tags"}

    @staticmethod
    def _permission(work: Work) -> dict[str, Any]:
        given = work.inputs
        found: dict[str, Any] = {"IpProtocol": PROTOCOLS.get(given["ipProtocol"], given["ipProtocol"])}
        found |= {api: given[n] for n, api in PORTS.items() if given.get(n) is not None}
        told = {"Description": given["description"]} if given.get("description") else {}
        source = _source(given)
        members = {
            "CidrIpv4": ("IpRanges", "CidrIp"),
            "CidrIpv6": ("Ipv6Ranges", "CidrIpv6"),
            "PrefixListId": ("PrefixListIds", "PrefixListId"),
            "ReferencedGroupId": ("UserIdGroupPairs", "GroupId"),
        }
        for name, value in source.items():
            member, key = members[name]
            found[member] = [{key: value, **told}]
        return found


PORTS = {"fromPort": "FromPort", "toPort": "ToPort"}


def _source(given: dict[str, Any]) -> dict[str, str]:
    names = {
        "cidrIpv4": "CidrIpv4",
        "cidrIpv6": "CidrIpv6",
        "prefixListId": "PrefixListId",
        "referencedSecurityGroupId": "ReferencedGroupId",
    }
    found = {api: given[name] for name, api in names.items() if given.get(name)}
    if "ReferencedGroupId" in found:
        found["ReferencedGroupId"] = found["ReferencedGroupId"].rpartition("/")[2]
    return found


def _permission(group: str, rule: dict[str, Any]) -> dict[str, Any]:
    protocol = str(rule["protocol"]).lower()
    found: dict[str, Any] = {"IpProtocol": PROTOCOLS.get(protocol, protocol)}
    if found["IpProtocol"] != "-1":
        found |= {"FromPort": rule["fromPort"], "ToPort": rule["toPort"]}
    told = {"Description": rule["description"]} if rule.get("description") else {}
    for name, (member, key) in SOURCES.items():
        values = list(rule.get(name) or [])
        if name == "securityGroups" and rule.get("self"):
            values.append(group)
        if values:
            found[member] = [{key: value, **told} for value in values]
    return found


def _told_rules(group: str, permissions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A group's rules, those with one protocol, ports and description in one."""
    rules: dict[tuple[Any, ...], dict[str, Any]] = {}
    for permission in permissions:
        ports = {"fromPort": permission.get("FromPort", 0), "toPort": permission.get("ToPort", 0)}
        for name, (member, key) in SOURCES.items():
            for item in permission.get(member, []):
                description = item.get("Description", "")
                rule = rules.setdefault(
                    (permission["IpProtocol"], *ports.values(), description),
                    {**ports, "protocol": permission["IpProtocol"], "self": False}
                    | ({"description": description} if description else {}),
                )
                if name == "securityGroups" and item.get(key) == group:
                    rule["self"] = True
                else:
                    rule.setdefault(name, []).append(item[key])
    return list(rules.values())


def _rule(direction: str) -> Rule:
    return Rule(
        f"aws:vpc/securityGroup{direction}Rule:SecurityGroup{direction}Rule",
        "ec2",
        f"VPC Security Group {direction} Rule",
        "{securityGroupRuleId}",
        create=f"AuthorizeSecurityGroup{direction}",
        read="DescribeSecurityGroupRules",
        update="ModifySecurityGroupRules",
        identity={},
        read_identity={"SecurityGroupRuleIds": ["{id}"]},
        pick="SecurityGroupRules[0]",
        tags=Ec2Tags.of(""),
        gone=NO_RULE,
        direction=direction,
    )


KINDS = (
    SecurityGroup(
        "aws:ec2/securityGroup:SecurityGroup",
        "ec2",
        "EC2 Security Group",
        "{groupId}",
        create="CreateSecurityGroup",
        read="DescribeSecurityGroups",
        delete="DeleteSecurityGroup",
        identity={"GroupId": "{id}"},
        read_identity={"GroupIds": ["{id}"]},
        pick="SecurityGroups[0]",
        prefix="Group",
        tags=Ec2Tags.of("security-group"),
        gone=NO_GROUP,
        retry_delete=("DependencyViolation", "InvalidGroup.InUse"),
        wait_gone=5 * MINUTE,
    ),
    _rule("Ingress"),
    _rule("Egress"),
)
