"""What Service Quotas says, as it lists it, and what it does not say."""

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from llmops_kit.cli.interfaces.quotas import Machines, QuotaNeed
from llmops_kit.cli.platforms.aws.quotas import quotas_for

REGION = "eu-central-1"
TRAINING, SPOT = Machines("training job", "ml.g5.xlarge"), Machines("spot training job", "ml.g5.xlarge")
ENDPOINT = Machines("endpoint", "ml.g5.xlarge")
CODE = "L-12345678"


class Account:
    """Service Quotas of an account: a page for each quota."""

    region = REGION

    def __init__(
        self, applied: dict[str, float], default: dict[str, float], refused: str = "", code: str = CODE
    ) -> None:
        self.code = code
        self.lists = {"list_service_quotas": applied, "list_aws_default_service_quotas": default}
        self.refused, self.asked = refused, list[str]()

    def __call__(self, service: str) -> Any:
        assert service == "service-quotas"
        return self

    def get_paginator(self, method: str) -> "Pages":
        self.asked.append(method)
        return Pages(self, method)


class Pages:
    def __init__(self, account: Account, method: str) -> None:
        self.account, self.method = account, method

    def paginate(self, ServiceCode: str) -> Iterator[dict[str, Any]]:  # noqa: N803
        assert ServiceCode == "sagemaker"
        if self.account.refused == self.method:
            raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, self.method)
        for name, value in self.account.lists[self.method].items():
            yield {"Quotas": [{"QuotaName": name, "QuotaCode": self.account.code, "Value": value}]}


def found(account: Account, needed: dict[Machines, int]) -> dict[str, QuotaNeed]:
    return {quota.name: quota for quota in quotas_for(account, needed)}  # type: ignore[arg-type]


def test_each_use_has_a_quota_of_its_own() -> None:
    names = [f"ml.g5.xlarge for {use} usage" for use in ("training job", "spot training job", "endpoint")]
    across = ["Number of instances across active endpoints", "Number of instances across all training jobs"]
    account = Account(dict.fromkeys(names, 1.0) | dict.fromkeys(across, 20.0), {})
    quotas = found(account, {TRAINING: 2, SPOT: 1, ENDPOINT: 3})
    assert {name: (q.needed, q.allowed, q.enough) for name, q in quotas.items()} == {
        names[0]: (2, 1, False),
        names[1]: (1, 1, True),
        names[2]: (3, 1, False),
        across[0]: (3, 20, True),
        across[1]: (2, 20, True),
    }
    assert account.asked == ["list_service_quotas"]
    assert quotas[names[0]].words == f"quota {CODE}: {names[0]} allows 1, a run needs 2"
    assert f"--quota-code {CODE} --desired-value 2 --region {REGION}" in quotas[names[0]].fix
    assert quotas[names[2]].needs == "the update needs"


def test_a_code_that_a_twin_made_up_is_not_shown() -> None:
    name = "ml.m7i.large for endpoint usage"
    account = Account({name: 1.0}, {}, code="TWIN-12345678")
    quota = found(account, {Machines("endpoint", "ml.m7i.large"): 2})[name]
    assert (quota.code, quota.allowed) == ("", 1)
    assert "TWIN" not in quota.words + quota.fix


def test_what_no_account_changed_is_looked_up_among_the_defaults() -> None:
    account = Account({"ml.g5.xlarge for spot training job usage": 4}, {"ml.g5.xlarge for spot training job usage": 0})
    assert found(account, {SPOT: 1})["ml.g5.xlarge for spot training job usage"].allowed == 4
    account = Account({}, {"ml.g5.xlarge for spot training job usage": 0})
    (quota,) = found(account, {SPOT: 1}).values()
    assert (quota.allowed, quota.enough, quota.why) == (0, False, "")


def test_a_type_that_the_region_does_not_list_is_said_and_not_refused() -> None:
    (quota,) = found(Account({}, {}), {SPOT: 1}).values()
    assert (quota.enough, quota.why) == (None, f"{REGION} lists no such quota: it may not offer the instance type")


@pytest.mark.parametrize("refused", ["list_service_quotas", "list_aws_default_service_quotas"])
def test_who_may_not_ask_is_told_why_nothing_is_known(refused: str) -> None:
    (quota,) = found(Account({}, {}, refused), {SPOT: 1}).values()
    assert (quota.enough, quota.why) == (None, "Service Quotas can't be read: AccessDeniedException")
