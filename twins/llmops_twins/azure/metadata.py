"""The metadata documents of this cloud, which Azure's clients read first.

https://learn.microsoft.com/azure/azure-resource-manager/management/ (GET /metadata/endpoints, on any ARM host)
"""

from typing import Any

from werkzeug.wrappers import Request

from llmops_twins.azure.entra.tokens import MANAGEMENT
from llmops_twins.azure.protocol.arm_errors import ArmError
from llmops_twins.azure.protocol.calls import Reply
from llmops_twins.azure.replies import route
from llmops_twins.azure.twin import TenantTwin

CLOUD = "AzureCloud"
"""The name of the twin's cloud, so that clients that name none, or the public one, use it."""
OWN_CLOUD = "TenantTwin"
"""Its second name, first in lists: azure-ai-ml uses the first listed cloud at the address of the list, and would treat
one called AzureCloud as the public one.
"""
_LISTS = ("2018-05-01", "2019-05-01", "2019-10-01", "2020-06-01", "2020-12-01")
_ONE = ("2021-01-01", "2022-09-01", "2023-11-01")


def install(twin: TenantTwin) -> None:
    """Registers the route."""
    route(twin, "/metadata/endpoints", _respond)


def _respond(twin: TenantTwin, request: Request) -> Reply:
    version = request.args.get("api-version", "")
    if version in _LISTS:
        return Reply(200, [{**document(twin), "name": OWN_CLOUD}, document(twin)])
    if version in _ONE:
        return Reply(200, document(twin))
    code = "InvalidApiVersionParameter" if version else "MissingApiVersionParameter"
    known = ", ".join((*_LISTS, *_ONE))
    raise ArmError(400, code, f"The api-version '{version}' is invalid. The supported versions are '{known}'.")


def document(twin: TenantTwin) -> dict[str, Any]:
    """Returns this cloud's metadata, in the format of API version 2019-05-01 and later."""
    host = twin.url.removeprefix("https://")
    return {
        "name": CLOUD,
        "portal": f"{twin.url}/portal.azure.com",  # azure-ai-ml derives the audience https://ml.azure.com from its end
        "resourceManager": f"{twin.url}/",
        "authentication": {
            "loginEndpoint": f"{twin.url}/",
            "audiences": [f"{MANAGEMENT[1]}/", f"{MANAGEMENT[0]}/"],
            "tenant": "common",
            "identityProvider": "AAD",
        },
        "graph": f"{twin.url}/graph/",
        "graphAudience": f"{twin.url}/graph/",
        "microsoftGraphResourceId": f"{twin.url}/graph/",
        "batch": f"{twin.url}/batch/",
        "gallery": f"{twin.url}/gallery/",
        "media": f"{twin.url}/media/",
        "sqlManagement": f"{twin.url}/sql/",
        "vmImageAliasDoc": f"{twin.url}/images/",
        "activeDirectoryDataLake": f"{twin.url}/datalake/",
        "logAnalyticsResourceId": "https://api.loganalytics.io",
        "appInsightsResourceId": "https://api.applicationinsights.io",
        "suffixes": {
            "acrLoginServer": "localhost",
            "keyVaultDns": host,
            "storage": host,
            "sqlServerHostname": host,
            "mhsmDns": host,
        },
    }
