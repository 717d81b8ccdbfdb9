"""Which security groups let the instances of a job talk to each other.

https://docs.aws.amazon.com/sagemaker/latest/dg/train-encrypt.html
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from moto.ec2.models import ec2_backends

from llmops_twins.aws.services.ec2.traffic import may_meet
from llmops_twins.aws.twin import AccountTwin

REGION = "eu-central-1"
ALL, UDP_500, ESP, TCP = ("-1", None), ("udp", 500), ("50", -1), ("tcp", 29500)


@pytest.fixture
def twin(tmp_path: Path) -> Iterator[AccountTwin]:
    made = AccountTwin(tmp_path)
    yield made
    ec2_backends[made.account][REGION].reset()


def job(twin: AccountTwin, *rules: tuple[str, int | None], encrypted: bool = True, cidr: str = "") -> dict[str, Any]:
    """A job in a group with these rules in both directions, to itself or to a range."""
    ec2: Any = ec2_backends[twin.account][REGION]
    vpc = ec2.create_vpc("10.0.0.0/16")
    subnet = ec2.create_subnet(vpc.id, "10.0.1.0/24", f"{REGION}a")
    group = ec2.create_security_group("jobs", "of jobs", vpc_id=vpc.id)
    group.egress_rules.clear()
    for protocol, port in rules:
        source = {"ip_ranges": [{"CidrIp": cidr}]} if cidr else {"source_groups": [{"GroupId": group.id}]}
        for authorise in (ec2.authorize_security_group_ingress, ec2.authorize_security_group_egress):
            authorise(group.id, protocol, port, port, **({"ip_ranges": []} | source))
    network = {"Subnets": [subnet.id], "SecurityGroupIds": [group.id]}
    return {"VpcConfig": network, "EnableInterContainerTrafficEncryption": encrypted}


@pytest.mark.parametrize("rules", [(ALL,), (UDP_500, ESP)])
def test_members_that_may_talk_meet(twin: AccountTwin, rules: tuple[tuple[str, int | None], ...]) -> None:
    assert may_meet(twin, REGION, job(twin, *rules))


@pytest.mark.parametrize("rules", [(), (TCP,), (UDP_500,), (ESP,), (("udp", 501), ESP)])
def test_members_of_a_group_do_not_meet_by_themselves(
    twin: AccountTwin, rules: tuple[tuple[str, int | None], ...]
) -> None:
    assert not may_meet(twin, REGION, job(twin, *rules))


def test_without_encryption_tcp_suffices(twin: AccountTwin) -> None:
    assert may_meet(twin, REGION, job(twin, TCP, encrypted=False))


@pytest.mark.parametrize(("cidr", "meets"), [("10.0.0.0/16", True), ("10.1.0.0/16", False)])
def test_a_range_has_to_hold_the_subnets(twin: AccountTwin, cidr: str, meets: bool) -> None:
    assert may_meet(twin, REGION, job(twin, ALL, cidr=cidr)) is meets


def test_in_sagemakers_own_network_they_meet(twin: AccountTwin) -> None:
    assert may_meet(twin, REGION, {})
