"""Amazon EC2's networks: rules with descriptions, refusals to delete resources in use, AWS's errors for missing ids,
flow logs.
"""

from typing import Any

from llmops_twins.aws.calls import ApiCall, AwsApiError
from llmops_twins.aws.identity import iam
from llmops_twins.aws.service_documents import Document, shelf
from llmops_twins.aws.twin import AccountTwin

_SERVICE = "ec2"
_SOURCES = {
    "CidrIpv4": lambda rule, value: rule.ip_range.update(CidrIp=value),
    "CidrIpv6": lambda rule, value: rule.ip_range.update(CidrIpv6=value),
    "PrefixListId": lambda rule, value: setattr(rule, "prefix_list_id", value),
    "ReferencedGroupId": lambda rule, value: rule.source_group.update(GroupId=value.rpartition("/")[2]),
}
_MISSING = {
    "DescribeVpcs": ("VpcIds", "vpcs", "InvalidVpcID.NotFound", "The vpc ID '{}' does not exist"),
    "DescribeSecurityGroups": ("GroupIds", "", "InvalidGroup.NotFound", "The security group '{}' does not exist"),
}


def install(twin: AccountTwin) -> None:
    """Corrects moto's networks to match https://docs.aws.amazon.com/AWSEC2/latest/APIReference/Welcome.html."""
    ec2 = _Ec2(twin)
    for operation in _MISSING:
        twin.before(_SERVICE, operation, ec2.refuse_missing)
    twin.before(_SERVICE, "CreateSecurityGroup", _refuse_bad_group_name)
    twin.before(_SERVICE, "DeleteSecurityGroup", ec2.refuse_group_in_use)
    twin.before(_SERVICE, "DeleteSubnet", ec2.refuse_subnet_in_use)
    for operation in ("AuthorizeSecurityGroupIngress", "AuthorizeSecurityGroupEgress"):
        twin.mend(_SERVICE, operation, ec2.keep_descriptions)
    twin.mend(_SERVICE, "DescribeSecurityGroupRules", ec2.complete_rules)
    twin.mend(_SERVICE, "DescribeSecurityGroups", ec2.describe_pairs)
    twin.implement(_SERVICE, "ModifySecurityGroupRules", ec2.modify_rules)
    twin.after(_SERVICE, "ModifyVpcAttribute", ec2.keep_attribute)
    twin.mend(_SERVICE, "DescribeVpcAttribute", ec2.give_attribute)
    twin.before(_SERVICE, "CreateFlowLogs", ec2.refuse_bad_flow_log_role)
    twin.implement(_SERVICE, "CreateFlowLogs", ec2.create_flow_logs)
    twin.mend(_SERVICE, "DescribeFlowLogs", ec2.say_delivery)


def refuse_dry_run(call: ApiCall) -> None:
    """Answers `DryRun` of a permitted call by an error, which changes nothing: parameter DryRun of
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/CommonParameters.html (DryRunOperation, status 412).
    """
    if call.service == _SERVICE and call.parameters.get("DryRun"):
        raise AwsApiError("DryRunOperation", "Request would have succeeded, but DryRun flag is set.", 412)


class _Ec2:
    def __init__(self, twin: AccountTwin) -> None:
        self._twin = twin

    def refuse_missing(self, call: ApiCall) -> None:
        member, _, code, text = _MISSING[call.operation]
        backend = self._moto(call)
        known = (
            set(backend.vpcs) if member == "VpcIds" else {name for groups in backend.groups.values() for name in groups}
        )
        for name in call.parameters.get(member, []):
            if name not in known:
                raise AwsApiError(code, text.format(name))

    def refuse_group_in_use(self, call: ApiCall) -> None:
        wanted = call.parameters.get("GroupId")
        if not wanted:
            return
        groups = [group for named in self._moto(call).groups.values() for group in named.values()]
        referred = any(
            rule.source_group.get("GroupId") == wanted
            for group in groups
            if group.id != wanted
            for rule in [*group.ingress_rules, *group.egress_rules]
        )
        enis = self._moto(call).get_all_network_interfaces()
        used = any(wanted in [group.id for group in eni.group_set] for eni in enis)
        if referred or used or self._serves(call, "SecurityGroupIds", wanted):
            raise AwsApiError("DependencyViolation", f"resource {wanted} has a dependent object")

    def refuse_subnet_in_use(self, call: ApiCall) -> None:
        wanted = call.parameters["SubnetId"]
        enis = self._moto(call).get_all_network_interfaces()
        if any(eni.subnet.id == wanted for eni in enis) or self._serves(call, "Subnets", wanted):
            text = f"The subnet '{wanted}' has dependencies and cannot be deleted."
            raise AwsApiError("DependencyViolation", text)

    def _serves(self, call: ApiCall, member: str, wanted: str) -> bool:
        """Returns whether an endpoint serves a model in a subnet or security group, and so has network interfaces
        there.
        """
        from llmops_twins.aws import sagemaker_documents as sagemaker

        used = set()
        for endpoint in sagemaker.documents(self._twin, sagemaker.ENDPOINT, call.region).values():
            for variant in endpoint.get("config", {}).get("ProductionVariants", []):
                model = sagemaker.lookup(self._twin, sagemaker.MODEL, call.region, variant.get("ModelName", ""))
                used.update((model or {}).get("VpcConfig", {}).get(member, []))
        return wanted in used

    def keep_descriptions(self, call: ApiCall, answer: Document) -> None:
        for permission in call.parameters.get("IpPermissions", []):
            pairs = [("group", each.get("GroupId"), each) for each in permission.get("UserIdGroupPairs", [])]
            pairs += [("list", each.get("PrefixListId"), each) for each in permission.get("PrefixListIds", [])]
            for shown in answer.get("SecurityGroupRules", []):
                rule = self._rule(call, shown["SecurityGroupRuleId"])
                for kind, name, each in pairs:
                    own = rule.source_group.get("GroupId") if kind == "group" else rule.prefix_list_id
                    if own == name and each.get("Description") is not None:
                        rule.ip_range["Description"] = each["Description"]
        self.complete_rules(call, answer)

    def complete_rules(self, call: ApiCall, answer: Document) -> None:
        start = f"arn:aws:ec2:{call.region}:{self._twin.account}:security-group-rule/"
        for shown in answer.get("SecurityGroupRules", []):
            rule = self._rule(call, shown["SecurityGroupRuleId"])
            shown.update(GroupOwnerId=self._twin.account, SecurityGroupRuleArn=start + rule.id)
            if shown["IpProtocol"] == "-1":
                shown.update(FromPort=-1, ToPort=-1)
            if rule.description is not None:
                shown["Description"] = rule.description

    def describe_pairs(self, call: ApiCall, answer: Document) -> None:
        for group in answer.get("SecurityGroups", []):
            for member, egress in (("IpPermissions", False), ("IpPermissionsEgress", True)):
                for permission in group.get(member, []):
                    for kind, key in (("UserIdGroupPairs", "GroupId"), ("PrefixListIds", "PrefixListId")):
                        for pair in permission.get(kind, []):
                            self._describe_pair(call, group["GroupId"], egress, permission, pair, key)

    def _describe_pair(
        self, call: ApiCall, group: str, egress: bool, permission: Document, pair: Document, key: str
    ) -> None:
        owner = self._moto(call).get_security_group_from_id(group)
        for rule in owner.egress_rules if egress else owner.ingress_rules:
            own = rule.source_group.get("GroupId") if key == "GroupId" else rule.prefix_list_id
            same = rule.ip_protocol == permission["IpProtocol"] and rule.from_port == permission.get("FromPort")
            if own == pair.get(key) and same and rule.description is not None:
                pair["Description"] = rule.description

    def modify_rules(self, call: ApiCall) -> Document:
        for change in call.parameters["SecurityGroupRules"]:
            new = change["SecurityGroupRule"]
            rule = self._rule(call, change["SecurityGroupRuleId"])
            sources = [name for name in _SOURCES if new.get(name)]
            if len(sources) != 1:
                text = "The request must contain exactly one of: cidrIp, cidrIpv6, prefixListId, or referencedGroupId"
                raise AwsApiError("MissingParameter", text)
            kept = [rule.cidr_ipv4, rule.cidr_ipv6, rule.prefix_list_id, rule.source_group.get("GroupId")]
            if not kept[list(_SOURCES).index(sources[0])]:
                text = (
                    f"Invalid rule type for security group rule '{rule.id}'. You may not change the type of its source."
                )
                raise AwsApiError("InvalidParameterValue", text)
            _SOURCES[sources[0]](rule, new[sources[0]])
            rule.ip_protocol = {"6": "tcp", "17": "udp", "1": "icmp"}.get(new["IpProtocol"], new["IpProtocol"])
            ports = (None, None) if rule.ip_protocol == "-1" else (new.get("FromPort"), new.get("ToPort"))
            rule.from_port, rule.to_port = ports
            if "Description" in new:
                rule.ip_range["Description"] = new["Description"]
            else:
                rule.ip_range.pop("Description", None)
        return {"Return": True}

    def keep_attribute(self, call: ApiCall, answer: Document) -> None:
        given = call.parameters.get("EnableNetworkAddressUsageMetrics")
        if given:
            shelf(self._twin, _SERVICE, "usage_metrics", call.region)[call.parameters["VpcId"]] = given

    def give_attribute(self, call: ApiCall, answer: Document) -> None:
        kept = shelf(self._twin, _SERVICE, "usage_metrics", call.region).get(call.parameters["VpcId"])
        if kept and "EnableNetworkAddressUsageMetrics" in answer:
            answer["EnableNetworkAddressUsageMetrics"] = kept

    def refuse_bad_flow_log_role(self, call: ApiCall) -> None:
        role = call.parameters.get("DeliverLogsPermissionArn")
        if role and not iam.trusts(self._twin, role, "vpc-flow-logs.amazonaws.com"):
            raise AwsApiError("InvalidParameter", "Unable to assume given IAM role")

    def create_flow_logs(self, call: ApiCall) -> Document:
        """Works as moto does, but accepts a folder of a bucket as destination: `arn:aws:s3:::bucket/folder/`."""
        given = call.parameters
        destination = given.get("LogDestination", "")
        bucket = destination.partition("/")[0] if given.get("LogDestinationType") == "s3" else ""
        made, errors = self._moto(call).create_flow_logs(
            given["ResourceType"],
            given["ResourceIds"],
            given.get("TrafficType"),
            given.get("DeliverLogsPermissionArn"),
            given.get("LogDestinationType"),
            bucket or destination or None,
            given.get("LogGroupName"),
            given.get("LogFormat"),
            given.get("MaxAggregationInterval"),
        )
        tags = [tag for each in given.get("TagSpecifications", []) for tag in each.get("Tags", [])]
        for flow_log in made:
            flow_log.log_destination = destination or None
            flow_log.add_tags({tag["Key"]: tag.get("Value", "") for tag in tags})
        failed = [{"ResourceId": name, "Error": {"Code": code, "Message": text}} for name, code, text in errors]
        return {"FlowLogIds": [each.id for each in made], "Unsuccessful": failed}

    def say_delivery(self, call: ApiCall, answer: Document) -> None:
        for shown in answer.get("FlowLogs", []):
            if shown.get("LogDestinationType") != "cloud-watch-logs":
                continue
            name = shown.get("LogGroupName") or shown["LogDestination"].split(":log-group:")[1].removesuffix(":*")
            shown["LogGroupName"] = name
            if iam.trusts(self._twin, shown["DeliverLogsPermissionArn"], "vpc-flow-logs.amazonaws.com"):
                shown["DeliverLogsStatus"] = "SUCCESS"
                shown.pop("DeliverLogsErrorMessage", None)

    def _rule(self, call: ApiCall, name: str) -> Any:
        for groups in self._moto(call).groups.values():
            for group in groups.values():
                for rule in [*group.ingress_rules, *group.egress_rules]:
                    if rule.id == name:
                        return rule
        text = f"The security group rule ID '{name}' does not exist"
        raise AwsApiError("InvalidSecurityGroupRuleId.NotFound", text)

    def _moto(self, call: ApiCall) -> Any:
        from moto.ec2.models import ec2_backends

        return ec2_backends[self._twin.account][call.region]


def _refuse_bad_group_name(call: ApiCall) -> None:
    name = call.parameters["GroupName"]
    if name.startswith("sg-"):
        text = f"Value ({name}) for parameter GroupName is invalid. Group names may not be in the format sg-*"
        raise AwsApiError("InvalidParameterValue", text)
