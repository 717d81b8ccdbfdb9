"""An account's quotas of SageMaker, by their codes, from Service Quotas."""

from botocore.exceptions import BotoCoreError, ClientError

from llmops.plan.quotas import QuotaNeed
from llmops.platforms.aws.clients import Clients

_SERVICE = "sagemaker"


def quotas_for(clients: Clients, needed: dict[str, int]) -> list[QuotaNeed]:
    """What the account allows of each instance type that serves endpoints; not known where the service won't say.

    https://docs.aws.amazon.com/servicequotas/2019-06-24/apireference/API_ListServiceQuotas.html
    """
    names = {f"{instance} for endpoint usage": count for instance, count in needed.items()}
    found: dict[str, tuple[str, int]] = {}
    try:
        for page in clients("service-quotas").get_paginator("list_service_quotas").paginate(ServiceCode=_SERVICE):
            found |= {
                q["QuotaName"]: (q["QuotaCode"], int(q["Value"])) for q in page["Quotas"] if q["QuotaName"] in names
            }
    except (ClientError, BotoCoreError):
        pass  # not allowed to ask, or a twin that doesn't keep quotas: unknown
    return [
        QuotaNeed(n, found[n][0] if n in found else "", c, found[n][1] if n in found else None)
        for n, c in names.items()
    ]
