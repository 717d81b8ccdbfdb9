"""Service Quotas of SageMaker, with the limits of the twin's judge of quotas."""

from llmops_twins.aws.calls import ApiCall, AwsApiError
from llmops_twins.aws.service_documents import Document, implement_methods, new_id, now, page, shelf
from llmops_twins.aws.twin import AccountTwin

_SERVICE = "service-quotas"
_CODE, _NAME = "sagemaker", "Amazon SageMaker"


def install(twin: AccountTwin) -> None:
    """Registers SageMaker's part of https://docs.aws.amazon.com/servicequotas/2019-06-24/apireference/Welcome.html."""
    implement_methods(twin, _SERVICE, _Quotas(twin))
    twin.implement(_SERVICE, "GetAWSDefaultServiceQuota", lambda call: _Quotas(twin).get_service_quota(call))
    twin.implement(_SERVICE, "ListAWSDefaultServiceQuotas", lambda call: _Quotas(twin).list_service_quotas(call))


class _Quotas:
    """The operations of Service Quotas, one method each."""

    def __init__(self, twin: AccountTwin) -> None:
        self._twin = twin

    def list_services(self, call: ApiCall) -> Document:
        return {"Services": [{"ServiceCode": _CODE, "ServiceName": _NAME}]}

    def list_service_quotas(self, call: ApiCall) -> Document:
        self._require_service(call)
        shown, token = page(self._all(call), call.parameters.get("NextToken"), call.parameters.get("MaxResults"))
        return {"Quotas": shown, "NextToken": token}

    def get_service_quota(self, call: ApiCall) -> Document:
        self._require_service(call)
        code = call.parameters["QuotaCode"]
        for quota in self._all(call):
            if quota["QuotaCode"] == code:
                return {"Quota": quota}
        raise AwsApiError(
            "NoSuchResourceException", f"The request failed because the specified quota {code} does not exist."
        )

    def request_service_quota_increase(self, call: ApiCall) -> Document:
        quota = self.get_service_quota(call)["Quota"]
        request = {
            **{name: quota[name] for name in ("ServiceCode", "ServiceName", "QuotaCode", "QuotaName")},
            "Id": new_id().replace("-", ""),
            "DesiredValue": call.parameters["DesiredValue"],
            "Status": "PENDING",
            "Created": now(),
            "GlobalQuota": False,
        }
        shelf(self._twin, _SERVICE, "requests", call.region)[request["Id"]] = request
        return {"RequestedQuota": request}

    def list_requested_service_quota_change_history(self, call: ApiCall) -> Document:
        requests = shelf(self._twin, _SERVICE, "requests", call.region).values()
        shown, token = page(requests, call.parameters.get("NextToken"), call.parameters.get("MaxResults"))
        return {"RequestedQuotas": shown, "NextToken": token}

    def _all(self, call: ApiCall) -> list[Document]:
        from llmops_twins.aws.judges.quotas import QuotaJudge, listed_codes

        judge = QuotaJudge(self._twin)
        start = f"arn:aws:servicequotas:{call.region}:{self._twin.account}:{_CODE}/"
        return [
            {
                "ServiceCode": _CODE,
                "ServiceName": _NAME,
                "QuotaArn": start + code,
                "QuotaCode": code,
                "QuotaName": name,
                "Value": float(judge.limit(name)),
                "Unit": "None",
                "Adjustable": True,
                "GlobalQuota": False,
            }
            for name, code in listed_codes().items()
        ]

    def _require_service(self, call: ApiCall) -> None:
        if call.parameters["ServiceCode"] != _CODE:
            text = f"This twin only knows the quotas of {_CODE}, not of {call.parameters['ServiceCode']}."
            raise AwsApiError("NoSuchResourceException", text)
