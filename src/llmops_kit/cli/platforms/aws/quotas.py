"""Reads an account's quotas of SageMaker from Service Quotas.

SageMaker has no API that lists the instance types of a region. Service Quotas lists a quota for each use of each type,
so a missing quota is a hint that the region lacks the type, which is reported, but not an error.
"""

import json
import re
from collections.abc import Iterator
from importlib import resources

from botocore.exceptions import BotoCoreError, ClientError

from llmops_kit.cli.interfaces.quotas import Needed, QuotaNeed, Use
from llmops_kit.cli.platforms.aws.clients import AwsClients
from llmops_kit.cli.platforms.aws.preflight import clients_of
from llmops_kit.cli.stacks.stack import PulumiStack
from llmops_kit.clouds.aws.errors import error_code

_SERVICE = "sagemaker"
_ACROSS: dict[Use, str] = {
    "endpoint": "Number of instances across active endpoints",
    "training job": "Number of instances across all training jobs",
}
_CODE = re.compile(r"L-[0-9A-F]{8}")
_LISTS = ("list_service_quotas", "list_aws_default_service_quotas")
"""Applied quotas, then, only if one is missing, the default quotas: "if the applied quota value is not available for a
quota, the quota is not retrieved".
https://docs.aws.amazon.com/servicequotas/2019-06-24/apireference/API_ListServiceQuotas.html
"""


def quotas_of(stack: PulumiStack, needed: Needed) -> list[QuotaNeed]:
    """Returns `quotas_for` of a stack's account and region."""
    return quotas_for(clients_of(stack), needed)


def quotas_for(clients: AwsClients, needed: Needed) -> list[QuotaNeed]:
    """Returns the quota of each instance type for its use; unknown if the service does not list it."""
    wanted, region = list(_wanted(needed)), clients.region
    codes, allowed, refused = _look_up(clients, {name for name, _, _ in wanted})
    return [
        QuotaNeed(
            name,
            codes.get(name, ""),
            count,
            allowed.get(name),
            "" if name in allowed else refused or f"{region} lists no such quota: it may not offer the instance type",
            _more(codes.get(name, ""), count, region),
            "the update needs" if use == "endpoint" else "a run needs",
        )
        for name, use, count in wanted
    ]


def _look_up(clients: AwsClients, names: set[str]) -> tuple[dict[str, str], dict[str, int], str]:
    """Returns quota -> code, quota -> allowed count, and why some could not be read."""
    codes, allowed = _codes(), dict[str, int]()
    for method in _LISTS:
        try:
            for page in clients("service-quotas").get_paginator(method).paginate(ServiceCode=_SERVICE):
                for quota in page["Quotas"]:
                    if _CODE.fullmatch(quota["QuotaCode"]):  # a twin makes up those that it does not know
                        codes[quota["QuotaName"]] = quota["QuotaCode"]
                    allowed.setdefault(quota["QuotaName"], int(quota["Value"]))
        except (ClientError, BotoCoreError) as e:
            reason = error_code(e) if isinstance(e, ClientError) else str(e)
            return codes, allowed, f"Service Quotas can't be read: {reason}"
        if names <= allowed.keys():
            break
    return codes, allowed, ""


def _wanted(needed: Needed) -> Iterator[tuple[str, Use, int]]:
    """Yields each quota, its use and the count needed. Endpoints run at the same time, runs one after another."""
    for machines, count in needed.items():
        yield f"{machines.instance_type} for {machines.use} usage", machines.use, count
    for use, name in _ACROSS.items():
        if counts := [count for machines, count in needed.items() if machines.use == use]:
            yield name, use, sum(counts) if use == "endpoint" else max(counts)


def _more(code: str, count: int, region: str) -> str:
    """Returns how to raise a quota.

    https://docs.aws.amazon.com/servicequotas/2019-06-24/apireference/API_RequestServiceQuotaIncrease.html
    """
    if not code:
        return f"Service Quotas in the console of {region}, Amazon SageMaker, asks for more"
    return (
        f"`aws service-quotas request-service-quota-increase --service-code {_SERVICE} --quota-code {code}"
        f" --desired-value {count} --region {region}` asks for more"
    )


def _codes() -> dict[str, str]:
    """Returns quota -> code; the twin has the same table."""
    text = resources.files("llmops_kit.cli.platforms.aws").joinpath("quota_codes.json").read_text()
    return json.loads(text)["codes"]
