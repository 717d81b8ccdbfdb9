"""Whether the instances of a training job in its owner's VPC can reach each other.

Traffic passes if a security group rule allows it out of the source, and a rule allows it into the destination. With
encryption between containers that is UDP 500 and ESP, without it TCP.
https://docs.aws.amazon.com/sagemaker/latest/dg/train-vpc.html
https://docs.aws.amazon.com/sagemaker/latest/dg/train-encrypt.html
"""

import ipaddress
from collections.abc import Iterable
from typing import Any

from llmops_twins.aws.service_documents import Document
from llmops_twins.aws.twin import AccountTwin

_NUMBERS = {"tcp": "6", "udp": "17", "icmp": "1"}
_ALL = "-1"
_ENCRYPTED = (("17", 500), ("50", None))
_PLAIN = (("6", None),)


def may_meet(twin: AccountTwin, region: str, job: Document) -> bool:
    """Returns whether the instances of a job can reach each other; in SageMaker's own network they always can."""
    from moto.ec2.models import ec2_backends

    network = job.get("VpcConfig")
    if not network:
        return True
    backend = ec2_backends[twin.account][region]
    groups = [group for name in network["SecurityGroupIds"] if (group := backend.get_security_group_from_id(name))]
    known = {name: subnet for zone in backend.subnets.values() for name, subnet in zone.items()}
    subnets = [ipaddress.ip_network(known[name].cidr_block) for name in network["Subnets"] if name in known]
    ids = {group.id for group in groups}
    rules = ([r for g in groups for r in g.egress_rules], [r for g in groups for r in g.ingress_rules])
    needed = _ENCRYPTED if job.get("EnableInterContainerTrafficEncryption") else _PLAIN
    return all(
        any(_lets(rule, protocol, port) and _is_among(rule, ids, subnets) for rule in direction)
        for protocol, port in needed
        for direction in rules
    )


def _lets(rule: Any, protocol: str, port: int | None) -> bool:
    named = _NUMBERS.get(str(rule.ip_protocol), str(rule.ip_protocol))
    if named == _ALL:
        return True
    if named != protocol:
        return False
    return port is None or int(rule.from_port) <= port <= int(rule.to_port)


def _is_among(rule: Any, groups: set[str], subnets: Iterable[Any]) -> bool:
    """Returns whether the source or destination that a rule names covers all of the job's instances."""
    if rule.source_group.get("GroupId") in groups:
        return True
    block = rule.ip_range.get("CidrIp")
    return bool(block) and all(subnet.subnet_of(ipaddress.ip_network(block)) for subnet in subnets)
