"""Asynchronous invocations: a queue that outlives the twin's process, processed with as much concurrency as instances
allow.

https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpointAsync.html
https://docs.aws.amazon.com/sagemaker/latest/dg/async-inference-check-predictions.html
"""

import copy
import shutil
import threading
import time

from llmops_twins.aws import sagemaker_documents as store
from llmops_twins.aws.calls import ApiCall, AwsApiError
from llmops_twins.aws.sagemaker.runtime.invocations import InvocationOperations, headers_of
from llmops_twins.aws.sagemaker.runtime.work import InvocationInProgress, NotNowError
from llmops_twins.aws.sagemaker_documents import ENDPOINT
from llmops_twins.aws.service_documents import Document, new_id, now, plain, regions, shelf
from llmops_twins.aws.services.cloudwatch import cloudwatch
from llmops_twins.aws.services.cloudwatch.metrics import CloudWatchMetric, put
from llmops_twins.aws.twin import AccountTwin, log

_QUEUE = "async-invocation"
_FOLDER = "async"
_TICK_SECONDS = 0.2
_IDLE_SECONDS = 1.0  # between two data points of a queue that stays empty
_MOST_SECONDS = 21_600  # that a request waits
_MODEL_SECONDS = 900
_AT_ONCE = 4  # requests per instance, if the configuration sets no limit


class AsyncInvocations:
    """Accepts asynchronous invocations, and processes them on separate threads."""

    def __init__(self, twin: AccountTwin, runtime: InvocationOperations) -> None:
        self._twin = twin
        self._runtime = runtime
        self._running: set[str] = set()
        self._told: dict[str, tuple[float, int]] = {}
        self._closed = False
        shutil.rmtree(twin.home / _FOLDER, ignore_errors=True)
        twin.every(_TICK_SECONDS, self._look)
        twin.closers.append(self._close)

    def invoke_endpoint_async(self, call: ApiCall) -> Document:
        """Answers InvokeEndpointAsync.

        Raises:
            AwsApiError: the endpoint does not exist or is not asynchronous, or the input location is invalid.
        """
        given = call.parameters
        endpoint = self._runtime.endpoint_of(call.region, given["EndpointName"])
        output = endpoint["config"].get("AsyncInferenceConfig", {}).get("OutputConfig", {})
        if not output.get("S3OutputPath"):
            raise AwsApiError("ValidationError", f"Endpoint {given['EndpointName']} is not asynchronous.")
        if (given.get("InputLocation") is None) == (given.get("Body") is None):
            raise AwsApiError("ValidationError", "Either InputLocation or Body must be given.")
        if not given.get("InputLocation", "s3://").startswith("s3://"):
            raise AwsApiError("ValidationError", "InputLocation must be an s3:// URI.")
        name, received = new_id(), now()
        below = given.get("S3OutputPathExtension") or ""
        item: Document = {
            "EndpointArn": endpoint["EndpointArn"],
            "InferenceId": given.get("InferenceId") or new_id(),
            "OutputLocation": _joined(output["S3OutputPath"], below, given.get("Filename") or f"{name}.out"),
            "received": received,
            "expires": received + (given.get("RequestTTLSeconds") or _MOST_SECONDS),
            "seconds": given.get("InvocationTimeoutSeconds") or _MODEL_SECONDS,
            "headers": headers_of(given),
            **plain({name: given.get(name) for name in ("InputLocation", "Body", "ContentType")}),
        }
        if output.get("S3FailurePath"):
            item["FailureLocation"] = _joined(output["S3FailurePath"], below, f"{name}-error.out")
        shelf(self._twin, store.SERVICE, _QUEUE, call.region)[name] = item
        self._twin.changed()
        self._start_due(call.region)
        return {key: item[key] for key in ("InferenceId", "OutputLocation", "FailureLocation") if key in item}

    # -- the queue; with the twin's lock held

    def _look(self) -> None:
        for region in regions(self._twin, store.SERVICE):
            self._start_due(region)
            for endpoint in store.documents(self._twin, ENDPOINT, region).values():
                if "AsyncInferenceConfig" in endpoint["config"] and endpoint["EndpointStatus"] != "Creating":
                    self._measure(region, endpoint)

    def _start_due(self, region: str) -> None:
        """Starts the invocations that an instance can take, and those that have expired; drops those whose endpoint is
        gone.
        """
        if self._closed or self._twin.settings.containers == "none":
            return
        queue = shelf(self._twin, store.SERVICE, _QUEUE, region)
        endpoints = store.documents(self._twin, ENDPOINT, region)
        for name, item in list(queue.items()):
            endpoint = endpoints.get(item["EndpointArn"])
            if name in self._running:
                continue
            if endpoint is None:
                del queue[name]
                self._twin.changed()
            elif item["expires"] <= now() or self._free(endpoint, queue):
                self._running.add(name)
                threading.Thread(target=self._run, args=[region, name], name="async", daemon=True).start()

    def _free(self, endpoint: Document, queue: dict[str, Document]) -> bool:
        client = endpoint["config"]["AsyncInferenceConfig"].get("ClientConfig", {})
        most = client.get("MaxConcurrentInvocationsPerInstance") or _AT_ONCE
        of_endpoint = [n for n in self._running if n in queue and queue[n]["EndpointArn"] == endpoint["EndpointArn"]]
        return len(of_endpoint) < most * _instances(endpoint)

    def _measure(self, region: str, endpoint: Document) -> None:
        queue = shelf(self._twin, store.SERVICE, _QUEUE, region).values()
        waiting = [item["received"] for item in queue if item["EndpointArn"] == endpoint["EndpointArn"]]
        told, before = self._told.get(endpoint["EndpointArn"], (0.0, 1))
        pause = cloudwatch.seconds_of(self._twin, 60)
        if not waiting and not before:
            pause = max(pause, _IDLE_SECONDS) if self._is_scaled(region, endpoint) else float("inf")
        if time.monotonic() - told < pause:
            return
        self._told[endpoint["EndpointArn"]] = (time.monotonic(), len(waiting))
        instances = _instances(endpoint)
        stuck = float(bool(waiting) and not instances)
        values = {"ApproximateBacklogSize": float(len(waiting)), "HasBacklogWithoutCapacity": stuck}
        if instances:
            values["ApproximateBacklogSizePerInstance"] = len(waiting) / instances
        if waiting:
            values["ApproximateAgeOfOldestRequest"] = now() - min(waiting)
        self._put(region, endpoint, values)

    def _is_scaled(self, region: str, endpoint: Document) -> bool:
        targets = shelf(self._twin, "application-autoscaling", "targets", region).values()
        return any(each["ResourceId"].split("/")[1] == endpoint["EndpointName"] for each in targets)

    def _put(self, region: str, endpoint: Document, values: dict[str, float]) -> None:
        for name, value in values.items():
            put(
                self._twin,
                region,
                CloudWatchMetric("AWS/SageMaker", name, (("EndpointName", endpoint["EndpointName"]),)),
                value,
            )

    def _close(self) -> None:
        self._closed = True

    # -- one invocation; in a thread, without the lock

    def _run(self, region: str, name: str) -> None:
        folder = self._twin.home / _FOLDER / name
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with self._twin.lock:
                item = copy.deepcopy(shelf(self._twin, store.SERVICE, _QUEUE, region).get(name, {}))
                endpoints = store.documents(self._twin, ENDPOINT, region)
                endpoint = copy.deepcopy(endpoints.get(item.get("EndpointArn", "")))
            if endpoint is None:  # the endpoint was deleted, or the account emptied
                return
            work = InvocationInProgress(self._twin, self._runtime, region, item, endpoint, folder)
            work.run()
        except NotNowError as e:
            log.debug("the invocation %s waits on: %s", name, e)
        except Exception:
            log.exception("the invocation %s failed", name)
            self._forget(region, name)
        else:
            with self._twin.lock:
                self._put(region, endpoint, work.counted)
            self._forget(region, name)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            with self._twin.lock:
                self._running.discard(name)
                self._start_due(region)

    def _forget(self, region: str, name: str) -> None:
        """Removes a finished invocation from the queue, unless the twin is ending: the next process then repeats it."""
        with self._twin.lock:
            if not self._closed:
                shelf(self._twin, store.SERVICE, _QUEUE, region).pop(name, None)
                self._twin.changed()


def _instances(endpoint: Document) -> int:
    return sum(variant.get("CurrentInstanceCount", 0) for variant in endpoint["variants"].values())


def _joined(*parts: str) -> str:
    return "/".join(part.strip("/") for part in parts if part)
