"""An account's quotas of SageMaker, by their codes, from Service Quotas."""

import json
from importlib import resources

from botocore.exceptions import BotoCoreError, ClientError

from llmops.plan.quotas import QuotaNeed
from llmops.platforms.aws.clients import Clients
from llmops.platforms.aws.preflight import clients_of
from llmops.stacks import PulumiStack

_SERVICE = "sagemaker"
_ACROSS = "Number of instances across active endpoints"


def quotas_of(stack: PulumiStack, needed: dict[str, int]) -> list[QuotaNeed]:
    """`quotas_for` of a stack's account and region."""
    return quotas_for(clients_of(stack), needed)


def quotas_for(clients: Clients, needed: dict[str, int]) -> list[QuotaNeed]:
    """What the account allows of each instance type that serves endpoints; not known where the service won't say.

    https://docs.aws.amazon.com/servicequotas/2019-06-24/apireference/API_ListServiceQuotas.html
    """
    names = {f"{instance} for endpoint usage": count for instance, count in needed.items()}
    names[_ACROSS] = sum(needed.values())
    codes, allowed = dict(_codes()), dict[str, int]()
    try:
        for page in clients("service-quotas").get_paginator("list_service_quotas").paginate(ServiceCode=_SERVICE):
            for quota in page["Quotas"]:
                codes[quota["QuotaName"]] = quota["QuotaCode"]
                allowed[quota["QuotaName"]] = int(quota["Value"])
    except (ClientError, BotoCoreError):
        pass  # not allowed to ask, or a twin that doesn't keep quotas: unknown
    return [QuotaNeed(name, codes.get(name, ""), count, allowed.get(name)) for name, count in names.items()]


def _codes() -> dict[str, str]:
    """Quota -> code, of the table that the twin has."""
    text = resources.files("twins.aws.judges").joinpath("quota_codes.json").read_text()
    return json.loads(text)["codes"]
