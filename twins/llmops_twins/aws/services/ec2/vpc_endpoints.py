"""VPC endpoints: existing services, private DNS, an interface in each subnet, policies, and refused deletions.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateVpcEndpoint.html
"""

import json
import zlib
from typing import Any

from llmops_twins.aws.calls import ApiCall, AwsApiError
from llmops_twins.aws.service_documents import Document, page, shelf
from llmops_twins.aws.twin import AccountTwin

_SERVICE = "ec2"
_GATEWAYS = ("s3", "dynamodb")
_INTERFACES = (
    *("s3", "ecr.api", "ecr.dkr", "logs", "monitoring", "sts", "kms", "ssm", "secretsmanager", "sns", "sqs", "events"),
    *("sagemaker.api", "sagemaker.runtime", "scheduler", "application-autoscaling", "ec2", "elasticfilesystem"),
    *("bedrock-runtime", "execute-api", "servicequotas", "dynamodb", "lambda", "states", "athena", "glue"),
)
_DEFAULT_POLICY = json.dumps(
    {"Version": "2008-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"}]}
)


def install(twin: AccountTwin) -> None:
    """Corrects moto's endpoints."""
    endpoints = _Endpoints(twin)
    twin.before(_SERVICE, "CreateVpcEndpoint", endpoints.refuse)
    twin.mend(_SERVICE, "CreateVpcEndpoint", endpoints.begin)
    twin.before(_SERVICE, "ModifyVpcEndpoint", endpoints.refuse_missing)
    twin.after(_SERVICE, "ModifyVpcEndpoint", endpoints.change)
    twin.implement(_SERVICE, "DescribeVpcEndpoints", endpoints.describe)
    twin.after(_SERVICE, "DeleteVpcEndpoints", endpoints.remove)
    twin.implement(_SERVICE, "DescribeVpcEndpointServices", endpoints.services)


class _Endpoints:
    def __init__(self, twin: AccountTwin) -> None:
        self._twin = twin

    def refuse(self, call: ApiCall) -> None:
        given, backend = call.parameters, self._moto(call)
        name, kind = given.get("ServiceName", ""), given.get("VpcEndpointType", "Gateway")
        short = name.removeprefix(f"com.amazonaws.{call.region}.")
        known = _GATEWAYS if kind == "Gateway" else _INTERFACES
        if short == name or short not in known:
            raise AwsApiError("InvalidServiceName", f"The Vpc Endpoint Service '{name}' does not exist")
        if given["VpcId"] not in backend.vpcs:
            raise AwsApiError("InvalidVpcId.NotFound", f"The Vpc Id {given['VpcId']} does not exist")
        self._refuse_bad_policy(given)
        existing = [each for each in backend.vpc_end_points.values() if each.vpc_id == given["VpcId"]]
        same = [each for each in existing if each.service_name == name and each.state != "deleted"]
        if kind == "Gateway":
            for each in same:
                shared = set(each.route_table_ids) & set(given.get("RouteTableIds", []))
                if shared:
                    text = f"route table {sorted(shared)[0]} already has a route with destination-prefix-list-id {each.destination_prefix_list_id}"  # fmt: skip # noqa: E501
                    raise AwsApiError("RouteAlreadyExists", text)
        elif given.get("PrivateDnsEnabled", True):
            self._refuse_private_dns(call, short, same)

    def _refuse_private_dns(self, call: ApiCall, short: str, same: list[Any]) -> None:
        vpc = self._moto(call).vpcs[call.parameters["VpcId"]]
        if vpc.enable_dns_support not in (True, "true") or vpc.enable_dns_hostnames not in (True, "true"):
            text = f"Enabling private DNS requires both enableDnsSupport and enableDnsHostnames VPC attributes set to true for {vpc.id}"  # fmt: skip # noqa: E501
            raise AwsApiError("InvalidParameter", text)
        if any(each.private_dns_enabled for each in same):
            domain = f"{_host(short)}.{call.region}.amazonaws.com"
            text = f"private-dns-enabled cannot be set because there is already a conflicting DNS domain for {domain} in the VPC {vpc.id}"  # fmt: skip # noqa: E501
            raise AwsApiError("InvalidParameter", text)

    def _refuse_bad_policy(self, given: Document) -> None:
        from llmops_twins.aws.identity.policies import resource_statements

        if given.get("PolicyDocument"):
            try:
                resource_statements(given["PolicyDocument"])
            except ValueError as e:
                raise AwsApiError("InvalidPolicyDocument", f"The policy document is not valid: {e}") from e

    def begin(self, call: ApiCall, answer: Document) -> None:
        given = call.parameters
        endpoint = self._find(call, answer["VpcEndpoint"]["VpcEndpointId"])
        endpoint.vpc_endpoint_type = given.get("VpcEndpointType", "Gateway")
        endpoint.private_dns_enabled = endpoint.vpc_endpoint_type == "Interface" and given.get(
            "PrivateDnsEnabled", True
        )
        if endpoint.vpc_endpoint_type == "Interface" and not endpoint.security_group_ids:
            groups = self._moto(call).groups[endpoint.vpc_id].values()
            endpoint.security_group_ids = [group.id for group in groups if group.name == "default"]
        kept = {"IpAddressType": given.get("IpAddressType", "ipv4")}
        kept["DnsRecordIpType"] = given.get("DnsOptions", {}).get("DnsRecordIpType", "ipv4")
        shelf(self._twin, _SERVICE, "endpoints", call.region)[endpoint.id] = kept
        self._give_groups(call, endpoint)
        answer["VpcEndpoint"] = self._shown(call, endpoint)

    def refuse_missing(self, call: ApiCall) -> None:
        self._find(call, call.parameters["VpcEndpointId"])

    def change(self, call: ApiCall, answer: Document) -> None:
        given, backend = call.parameters, self._moto(call)
        endpoint = self._find(call, given["VpcEndpointId"])
        if given.get("ResetPolicy"):
            endpoint.policy_document = _DEFAULT_POLICY
        if "PrivateDnsEnabled" in given:
            endpoint.private_dns_enabled = given["PrivateDnsEnabled"]
        if "IpAddressType" in given:
            shelf(self._twin, _SERVICE, "endpoints", call.region)[endpoint.id]["IpAddressType"] = given["IpAddressType"]
        for subnet in given.get("AddSubnetIds", []):
            endpoint.network_interface_ids.append(backend.create_network_interface(subnet, None).id)
        for subnet in given.get("RemoveSubnetIds", []):
            for name in list(endpoint.network_interface_ids):
                if backend.enis[name].subnet.id == subnet:
                    endpoint.network_interface_ids.remove(name)
                    backend.enis.pop(name)
        self._give_groups(call, endpoint)

    def describe(self, call: ApiCall) -> Document:
        wanted = call.parameters
        named = [self._find(call, name) for name in wanted.get("VpcEndpointIds", [])]
        found = [self._shown(call, each) for each in named or self._moto(call).vpc_end_points.values()]
        filters = {each["Name"]: each["Values"] for each in wanted.get("Filters", [])}
        shown = [each for each in found if all(_meets(each, name, values) for name, values in filters.items())]
        some, token = page(shown, wanted.get("NextToken"), wanted.get("MaxResults"), 1000)
        return {"VpcEndpoints": some, "NextToken": token}

    def remove(self, call: ApiCall, answer: Document) -> None:
        for name in call.parameters["VpcEndpointIds"]:
            self._moto(call).vpc_end_points.pop(name, None)
            shelf(self._twin, _SERVICE, "endpoints", call.region).pop(name, None)

    def services(self, call: ApiCall) -> Document:
        start = f"com.amazonaws.{call.region}."
        kinds = [(name, "Gateway") for name in _GATEWAYS] + [(name, "Interface") for name in _INTERFACES]
        known = [_service(call.region, name, kind) for name, kind in kinds]
        wanted = call.parameters.get("ServiceNames", [])
        for name in wanted:
            if name.removeprefix(start) not in (*_GATEWAYS, *_INTERFACES):
                raise AwsApiError("InvalidServiceName", f"The Vpc Endpoint Service '{name}' does not exist")
        filters = {each["Name"]: each["Values"] for each in call.parameters.get("Filters", [])}
        found = [
            each
            for each in known
            if (not wanted or each["ServiceName"] in wanted)
            and each["ServiceType"][0]["ServiceType"] in filters.get("service-type", ["Gateway", "Interface"])
            and each["ServiceName"] in filters.get("service-name", [each["ServiceName"]])
        ]
        return {"ServiceNames": sorted({each["ServiceName"] for each in found}), "ServiceDetails": found}

    def _give_groups(self, call: ApiCall, endpoint: Any) -> None:
        backend = self._moto(call)
        groups = [backend.get_security_group_from_id(name) for name in endpoint.security_group_ids]
        for name in endpoint.network_interface_ids:
            eni = backend.enis[name]
            eni._group_set = groups
            eni.interface_type, eni.status = "vpc_endpoint", "in-use"
            eni.description = f"VPC Endpoint Interface {endpoint.id}"

    def _shown(self, call: ApiCall, endpoint: Any) -> Document:
        kept = shelf(self._twin, _SERVICE, "endpoints", call.region).get(endpoint.id, {})
        shown = {
            "VpcEndpointId": endpoint.id,
            "VpcEndpointType": endpoint.vpc_endpoint_type,
            "VpcId": endpoint.vpc_id,
            "ServiceName": endpoint.service_name,
            "State": endpoint.state,
            "PolicyDocument": endpoint.policy_document,
            "RouteTableIds": endpoint.route_table_ids or [],
            "SubnetIds": endpoint.subnet_ids or [],
            "Groups": endpoint.groups,
            "PrivateDnsEnabled": bool(endpoint.private_dns_enabled),
            "RequesterManaged": False,
            "NetworkInterfaceIds": endpoint.network_interface_ids,
            "DnsEntries": [],
            "CreationTimestamp": endpoint.creation_timestamp,
            "Tags": [{"Key": tag["key"], "Value": tag["value"]} for tag in endpoint.get_tags()],
            "OwnerId": self._twin.account,
        }
        if endpoint.vpc_endpoint_type == "Interface":
            shown["IpAddressType"] = kept.get("IpAddressType", "ipv4")
            shown["DnsOptions"] = {"DnsRecordIpType": kept.get("DnsRecordIpType", "ipv4")}
            shown["DnsEntries"] = _dns(call.region, endpoint)
        return shown

    def _find(self, call: ApiCall, name: str) -> Any:
        endpoint = self._moto(call).vpc_end_points.get(name)
        if endpoint is None:
            raise AwsApiError("InvalidVpcEndpointId.NotFound", f"The Vpc Endpoint Id '{name}' does not exist")
        return endpoint

    def _moto(self, call: ApiCall) -> Any:
        from moto.ec2.models import ec2_backends

        return ec2_backends[self._twin.account][call.region]


def _dns(region: str, endpoint: Any) -> list[Document]:
    short = endpoint.service_name.removeprefix(f"com.amazonaws.{region}.")
    host = _host(short)
    entries = [
        {
            "DnsName": f"{endpoint.id}-{endpoint.id[-8:]}.{host}.{region}.vpce.amazonaws.com",
            "HostedZoneId": "Z7HUB22UULQXV",
        }
    ]
    if endpoint.private_dns_enabled:
        entries.append({"DnsName": f"{host}.{region}.amazonaws.com", "HostedZoneId": "ZONEIDPENDING"})
    return entries


def _host(short: str) -> str:
    """Returns the host of a service: `ecr.api` is reached at api.ecr.…"""
    return ".".join(reversed(short.split(".")))


def _service(region: str, name: str, kind: str) -> Document:
    return {
        "ServiceName": f"com.amazonaws.{region}.{name}",
        "ServiceId": f"vpce-svc-{zlib.crc32(f'{region}{name}{kind}'.encode()):017x}",
        "ServiceType": [{"ServiceType": kind}],
        "ServiceRegion": region,
        "AvailabilityZones": [f"{region}{letter}" for letter in "abc"],
        "Owner": "amazon",
        "BaseEndpointDnsNames": [f"{name}.{region}.vpce.amazonaws.com"],
        "VpcEndpointPolicySupported": True,
        "AcceptanceRequired": False,
        "ManagesVpcEndpoints": False,
        "Tags": [],
    }


def _meets(shown: Document, name: str, values: list[str]) -> bool:
    members = {"vpc-id": "VpcId", "service-name": "ServiceName", "vpc-endpoint-id": "VpcEndpointId"}
    members |= {"vpc-endpoint-state": "State", "vpc-endpoint-type": "VpcEndpointType"}
    tags = {tag["key"] if "key" in tag else tag["Key"]: tag.get("value", tag.get("Value")) for tag in shown["Tags"]}
    if name.startswith("tag:"):
        return tags.get(name[4:]) in values
    if name == "tag-key":
        return bool(set(values) & set(tags))
    if name not in members:
        raise AwsApiError("InvalidParameterValue", f"The filter '{name}' is invalid")
    return shown[members[name]] in values
