"""One asynchronous invocation: input from S3, a container's answer, the result to S3, and notifications.

https://docs.aws.amazon.com/sagemaker/latest/dg/async-inference.html (sizes)
https://docs.aws.amazon.com/sagemaker/latest/dg/async-inference-check-predictions.html
"""

import base64
import json
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from llmops_twins.aws import s3_objects
from llmops_twins.aws import sagemaker_documents as store
from llmops_twins.aws.calls import AwsApiError
from llmops_twins.aws.judges import platform
from llmops_twins.aws.sagemaker.fleet.fleet import log_group, log_stream
from llmops_twins.aws.sagemaker.runtime.invocations import ContainerAnswer, Invocation, InvocationOperations
from llmops_twins.aws.sagemaker_documents import MODEL
from llmops_twins.aws.service_documents import Document, now
from llmops_twins.aws.services.logs import logs
from llmops_twins.aws.twin import AccountTwin

_INPUT_BYTES = 1 << 30
_NOTIFIED_BYTES = 128_000  # maximum size of an answer in a notification
_EXPIRED = "The request waited longer than its RequestTTLSeconds."


class NotNowError(Exception):
    """Error for an invocation that no instance can take now."""


class InvocationInProgress:
    """An invocation in progress. `counted` collects its metrics for CloudWatch.

    Args:
        twin: the account.
        runtime: makes the request.
        region: the endpoint's region.
        item: the invocation's document in the queue.
        endpoint: the endpoint's document.
        folder: the folder for its files.
    """

    def __init__(
        self,
        twin: AccountTwin,
        runtime: InvocationOperations,
        region: str,
        item: Document,
        endpoint: Document,
        folder: Path,
    ) -> None:
        self.counted: dict[str, float] = {}
        self._twin = twin
        self._runtime = runtime
        self._region = region
        self._item = item
        self._endpoint = endpoint
        self._input = folder / "input"
        self._output = folder / "output"
        self._config = endpoint["config"]["AsyncInferenceConfig"]
        self._stream = f"{next(iter(endpoint['variants']), 'main')}/data-log"
        self._began = now()

    def run(self) -> None:
        """Makes the invocation, and records its outcome.

        Raises:
            NotNowError: no instance can take it now.
        """
        self.counted = {"InvocationsProcessed": 1, "TimeInBacklog": 1e3 * (self._began - self._item["received"])}
        if self._item["expires"] <= self._began:
            self.counted = {"ExpiredRequests": 1}
            self._failed(_EXPIRED, "")
            return
        try:
            self._fetch()
            content_type, seconds = self._answer()
        except AwsApiError as e:
            if e.code == "ServiceUnavailable":
                raise NotNowError(e.message) from e
            self.counted["InvocationFailures"] = 1
            self._failed(e.message, getattr(e, "OriginalMessage", ""))
        else:
            self._succeeded(content_type, seconds)

    def _fetch(self) -> None:
        location = self._item.get("InputLocation")
        if location is None:
            self._input.write_bytes(base64.b64decode(self._item["Body"]))
            return
        self._require(platform.accesses_of_async_invocation(self._twin, self._item["EndpointArn"], location))
        place = s3_objects.S3Location.of(location)
        s3_objects.download(self._twin, place.bucket, place.key, self._input)
        if self._input.stat().st_size > _INPUT_BYTES:
            raise AwsApiError("ValidationError", f"{location} has more than {_INPUT_BYTES} bytes")

    def _answer(self) -> tuple[str, float]:
        """Writes a container's answer to the output file; returns its content type and the seconds that the model
        took.
        """
        with self._input.open("rb") as body:
            answer = self._ask(body)
            if answer.exchange.status >= 300:
                self._runtime.whole_body(answer)  # raises the error
            asked = time.perf_counter()
            with self._output.open("wb") as file:
                self._runtime.write_body(answer, file)
            return answer.content_type, answer.first_seconds + time.perf_counter() - asked

    def _ask(self, body: Any) -> ContainerAnswer:
        invocation = Invocation(
            endpoint=self._endpoint["EndpointName"],
            arn=self._endpoint["EndpointArn"],
            region=self._region,
            path="/invocations",
            body=body,
            headers={**self._item["headers"], "Content-Length": str(self._input.stat().st_size)},
            began=time.perf_counter(),
        )
        answer = self._runtime.begin(invocation, None, float(self._item["seconds"]))
        self._stream = f"{log_stream(answer.lease.variant, answer.lease.instance)}/data-log"
        return answer

    def _succeeded(self, content_type: str, seconds: float) -> None:
        told = self._output.read_bytes() if self._output.stat().st_size <= _NOTIFIED_BYTES else b""
        if not self._put(self._item["OutputLocation"]):
            return
        backlog, total = self._began - self._item["received"], now() - self._item["received"]
        self._log(
            f"Inference request succeeded. ModelLatency: {1e6 * seconds:.0f} us, TimeInBacklog: {1e3 * backlog:.0f} "
            f"ms, TotalProcessingTime: {1e3 * total:.0f} ms"
        )
        response: Document = {"contentType": content_type, "outputLocation": self._item["OutputLocation"]}
        self._notify("Success", {"invocationStatus": "Completed", "responseParameters": response}, told)

    def _failed(self, reason: str, told: str) -> None:
        self._log(f"Inference request failed. {reason}")
        if "FailureLocation" in self._item:
            self._output.write_text(told or reason)
            self._put(self._item["FailureLocation"])
        self._notify("Error", {"invocationStatus": "Failed", "failureReason": reason}, told.encode())

    def _put(self, location: str) -> bool:
        """Uploads the result; returns False if that fails. A failure is only logged, as there is nowhere else to report
        it.
        """
        accesses = platform.accesses_of_async_result(self._twin, self._item["EndpointArn"], self._config)
        key = self._config["OutputConfig"].get("KmsKeyId", "")
        try:
            self._require(access for access in accesses if not access.action.startswith("sns:"))
            s3_objects.upload(self._twin, self._output, s3_objects.S3Location.of(location), key, move=True)
        except AwsApiError as e:
            self.counted["InvocationFailures"] = 1
            self._log(f"Writing {location} failed. {e.message}")
            return False
        return True

    def _notify(self, kind: str, members: Document, told: bytes) -> None:
        notices = self._config["OutputConfig"].get("NotificationConfig", {})
        topic = notices.get(f"{kind}Topic")
        if not topic:
            return
        asked = {"endpointName": self._endpoint["EndpointName"], "inputLocation": self._item.get("InputLocation")}
        message: Document = {
            "awsRegion": self._region,
            "eventTime": _time(now()),
            "receivedTime": _time(self._item["received"]),
            **members,
            "requestParameters": {"contentType": self._item.get("ContentType"), **asked},
            "inferenceId": self._item["InferenceId"],
            "eventVersion": "1.0",
            "eventSource": "aws:sagemaker",
            "eventName": "InferenceResult",
        }
        wanted = f"{kind.upper()}_NOTIFICATION_TOPIC" in notices.get("IncludeInferenceResponseIn", [])
        if wanted and told and len(told) <= _NOTIFIED_BYTES:
            message["responseBody"] = {"content": base64.b64encode(told).decode(), "encoding": "BASE64"}
        try:
            self._publish(topic, message)
        except AwsApiError as e:
            self.counted["SNSDeliveryFailures"] = 1
            self._log(f"The notice to {topic} failed. {e.message}")

    def _publish(self, topic: str, message: Document) -> None:
        from moto.core.exceptions import ServiceException
        from moto.sns.models import sns_backends

        accesses = platform.accesses_of_async_result(self._twin, self._item["EndpointArn"], self._config)
        self._require(each for each in accesses if each.action.startswith("sns:") and each.resource == topic)
        with self._twin.lock:
            try:
                sns_backends[self._twin.account][topic.split(":")[3]].publish(json.dumps(message), arn=topic)
            except ServiceException as e:
                # https://docs.aws.amazon.com/sns/latest/api/API_Publish.html
                raise AwsApiError("NotFound", str(e)) from e
            self._twin.changed()

    def _require(self, accesses: Iterable[Any]) -> None:
        """Checks accesses under the role of the endpoint's model.

        Raises:
            AwsApiError: AccessDenied.
        """
        with self._twin.lock:
            variant = self._endpoint["config"]["ProductionVariants"][0]
            model = store.lookup(self._twin, MODEL, self._region, variant.get("ModelName", ""))
            if model is None:  # deleted meanwhile: its containers continue, but their role is unknown
                return
            for access in accesses:
                reason = self._twin.may(model["ExecutionRoleArn"], access.action, access.resource, access.context)
                if reason:
                    # unsure (70 %): that it fails is documented; no source found for the words in the failure's text
                    raise AwsApiError("AccessDenied", reason)

    def _log(self, text: str) -> None:
        group = log_group(self._endpoint["EndpointName"])
        line = f"{_time(now())}:[sagemaker logs] [{self._item['InferenceId']}] {text}"
        with self._twin.lock:
            logs.put_events(self._twin, self._region, group, self._stream, [line])


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
