"""Deployments whose containers really run, asked through the endpoint's own host."""

import http.client
import json
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from llmops_kit.local_runtime.process_images import build
from llmops_twins.azure import faults
from llmops_twins.azure.telemetry.metering import ScoredRequest
from tests.support.runs.jobs import trainee
from tests.support.servers.echo import echo_source
from twins.tests.support.azure_ml import VERSION, Ml, running_ml, wait


@pytest.fixture(scope="module")
def ml(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ml]:
    with running_ml(tmp_path_factory.mktemp("twin")) as made:
        image = build(echo_source(tmp_path_factory.mktemp("echo")))
        made.environment("echo", image)
        made.environment("scored", image, scoring="/score")
        yield made


@pytest.fixture(scope="module")
def echo(ml: Ml) -> str:
    return f"{ml.id}/environments/echo/versions/1"


def version(name: str) -> dict[str, Any]:
    return {"environmentVariables": {"VERSION": name}}


def test_shares_of_traffic_a_named_deployment_and_none(ml: Ml, echo: str) -> None:
    ml.endpoint("shares")
    assert ml.deployment("shares", "blue", echo, **version("1"))["properties"]["provisioningState"] == "Succeeded"
    assert ml.deployment("shares", "green", echo, **version("2"))["properties"]["provisioningState"] == "Succeeded"
    status, body, _ = ml.ask("shares")
    assert (status, json.loads(body)["error"]["code"]) == (404, "NotFound")

    status, body, headers = ml.ask("shares", azureml_model_deployment="green")
    assert (status, body, headers["azureml-model-deployment"]) == (200, b"2", "green")
    assert ml.ask("shares", azureml_model_deployment="red")[0] == 404

    ml.endpoint("shares", traffic={"blue": 75, "green": 25})
    answers = [ml.ask("shares")[1] for _ in range(8)]
    assert (answers.count(b"1"), answers.count(b"2")) == (6, 2)
    assert ml.ask("shares", "/v1/deep?x=1", b"hi")[2]["X-Path"] == "/v1/deep?x=1"


def test_a_model_is_mounted_where_azure_mounts_it(ml: Ml) -> None:
    ml.write("store", models__abc__manifest="it", models__abc__sub__b="deep")
    ml.put("/models/chat/versions/3", {"properties": {"modelUri": "azureml://datastores/store/paths/models/abc/"}})
    code = "import os; m = os.environ['AZUREML_MODEL_DIR']; print('sees', m[-40:], sorted(os.listdir(m + '/abc')))"
    command = {"CODE": code + SERVE}
    environment = ml.environment("looks", trainee())
    ml.endpoint("mounted")
    model = {"model": f"{ml.id}/models/chat/versions/3", "environmentVariables": command}
    found = ml.deployment("mounted", "blue", environment, **model)
    assert found["properties"]["provisioningState"] == "Succeeded"
    said = wait(lambda: text if "sees" in (text := logs(ml, "mounted", "blue")) else None)
    assert "/var/azureml-app/azureml-models/chat/3 ['manifest', 'sub']" in said
    assert "Downloaded model successfully" in logs(ml, "mounted", "blue", "StorageInitializer")


def test_who_may_score(ml: Ml, echo: str) -> None:
    ml.endpoint("judged")
    ml.deployment("judged", "blue", echo)
    ml.endpoint("judged", traffic={"blue": 100})
    stranger = ml.hosts.principal("stranger")
    assert ml.ask("judged", token="")[0] == 401
    assert ml.ask("judged", token=ml.token("https://management.azure.com"))[0] == 401
    assert ml.ask("judged", token=ml.token(caller=stranger))[0] == 403
    scientist = ml.hosts.principal("scientist", AzureML_Data_Scientist=ml.id)
    assert ml.ask("judged", token=ml.token(caller=scientist))[0] == 200

    ml.endpoint("keyed", authMode="Key")
    ml.deployment("keyed", "blue", echo)
    ml.endpoint("keyed", authMode="Key", traffic={"blue": 100})
    keys = ml.arm.call("POST", f"{ml.id}/onlineEndpoints/keyed/listKeys", VERSION).body
    assert ml.ask("keyed", token=keys["secondaryKey"])[0] == 200
    assert ml.ask("keyed")[0] == 401


def test_what_the_platform_answers_for_a_container(ml: Ml, echo: str) -> None:
    ml.endpoint("words")
    settings = {"maxConcurrentRequestsPerInstance": 1, "requestTimeout": "PT1S"}
    ml.deployment("words", "blue", echo, requestSettings=settings)
    ml.endpoint("words", traffic={"blue": 100})
    status, body, headers = ml.ask("words", body=b"fail")
    assert (status, body, headers["ms-azureml-model-error-statuscode"]) == (424, b"as asked", "500")
    assert headers["ms-azureml-model-error-reason"] == "Internal Server Error"
    assert headers["azureml-model-deployment"] == "blue"
    assert len(headers["x-request-id"]) == 36

    slow = "/stream?n=1000&pause=0.1"
    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(ml.ask, "words", slow, None) for _ in range(3)]
        statuses = Counter(status_of(each) for each in asked)
    assert statuses == {429: 1, 0: 2}  # two streams that were cut when their time was over
    gone = wait(lambda: answer if (answer := ml.ask("words", "/die", b""))[0] == 502 else None)
    assert json.loads(gone[1])["error"]["code"] == "BadGateway"
    assert wait(lambda: True if ml.ask("words")[0] == 200 else None)  # begun again


def test_a_scoring_route_is_the_only_way_in(ml: Ml) -> None:
    ml.endpoint("routed")
    ml.deployment("routed", "blue", f"{ml.id}/environments/scored/versions/1")
    ml.endpoint("routed", traffic={"blue": 100})
    assert ml.get("/onlineEndpoints/routed")["properties"]["scoringUri"].endswith("/score")
    assert ml.ask("routed", "/score")[0] == 200
    assert ml.ask("routed", "/other")[0] == 404


def test_a_request_that_is_late(ml: Ml, echo: str) -> None:
    ml.endpoint("late")
    ml.deployment("late", "blue", ml.environment("hangs", trainee()), **code(HANG), requestSettings=QUICK)
    ml.endpoint("late", traffic={"blue": 100})
    status, body, _ = ml.ask("late")
    assert (status, json.loads(body)["error"]["code"]) == (408, "RequestTimeout")


def test_mirrored_traffic_is_answered_by_the_live_one(ml: Ml, echo: str) -> None:
    ml.endpoint("mirrored")
    ml.deployment("mirrored", "blue", echo, **version("1"))
    ml.deployment("mirrored", "green", echo, **version("2"))
    ml.endpoint("mirrored", traffic={"blue": 100}, mirrorTraffic={"green": 50})
    assert {ml.ask("mirrored")[1] for _ in range(6)} == {b"1"}
    answered = wait(lambda: found if len(found := requests_of(ml, "mirrored", "green")) == 3 else None)
    assert {each.status for each in answered} == {200}


def test_streams_pass_as_they_come(ml: Ml, echo: str) -> None:
    ml.endpoint("streamed")
    ml.deployment("streamed", "blue", echo)
    ml.endpoint("streamed", traffic={"blue": 100})
    url = ml.running.scoring_url(f"{ml.id}/onlineEndpoints/streamed")
    request = urllib.request.Request(
        f"{url}/stream?n=100000&pause=0.05", headers={"Authorization": f"Bearer {ml.token()}"}
    )
    with urllib.request.urlopen(request, context=ml.hosts.context()) as answer:
        assert answer.readline().startswith(b"data:")
    # The client has left: the container is told.
    assert wait(lambda: True if ml.ask("streamed", "/cancelled", None)[1] == b"1" else None)


def test_a_stream_is_cut_on_request(ml: Ml, echo: str) -> None:
    ml.endpoint("cut")
    ml.deployment("cut", "blue", echo)
    ml.endpoint("cut", traffic={"blue": 100})
    faults.of(ml.twin).add("cut_stream", {"endpoint": "cut", "after_bytes": 30})
    with pytest.raises(http.client.IncompleteRead) as broken:
        ml.ask("cut", "/stream?n=100", None)
    assert len(broken.value.partial) <= 30
    assert ml.ask("cut", "/stream?n=2", None)[0] == 200


def test_a_model_that_is_not_there(ml: Ml, echo: str) -> None:
    ml.put("/models/hidden/versions/1", {"properties": {"modelUri": "azureml://datastores/work/paths/nothing/"}})
    ml.endpoint("empty")
    ml.deployment("empty", "blue", echo, model=f"{ml.id}/models/hidden/versions/1")
    assert "Unable to download user model: there is nothing at work/nothing" in failure_of(ml, "empty", "blue")


def test_a_container_that_ends_fails_its_deployment(ml: Ml, echo: str) -> None:
    ml.endpoint("broken")
    ml.deployment("broken", "blue", echo, environmentVariables={"CRASH": "no such model"})
    assert ml.get("/onlineEndpoints/broken/deployments/blue")["properties"]["provisioningState"] == "Failed"
    failure = ml.found("/onlineEndpoints/broken/deployments/blue")["_failure"]
    assert failure["code"] == "ResourceNotReady"
    assert "User container has crashed or terminated" in failure["message"]
    assert "no such model" in failure["message"]
    assert "no such model" in logs(ml, "broken", "blue")


def test_faults_of_containers(ml: Ml, echo: str) -> None:
    ml.endpoint("faulty")
    faults.of(ml.twin).add("bad_image", {"image": "process:echo*"})
    ml.deployment("faulty", "blue", echo)
    assert "exec format error" in failure_of(ml, "faulty", "blue")
    faults.of(ml.twin).clear()
    faults.of(ml.twin).add("silent", {"image": "process:echo*"})
    ml.deployment("faulty", "green", echo)
    assert "did not answer its readiness route /ping" in failure_of(ml, "faulty", "green")
    faults.of(ml.twin).clear()
    faults.of(ml.twin).add("capacity", {"instance_type": "Standard_DS3*", "times": 1})
    ml.deployment("faulty", "red", echo)
    assert "lack of Azure Machine Learning capacity" in failure_of(ml, "faulty", "red")


def test_updates_and_crashes_lose_no_request(ml: Ml, echo: str) -> None:
    ml.endpoint("busy")
    ml.deployment("busy", "blue", echo, capacity=2, **version("1"))
    ml.endpoint("busy", traffic={"blue": 100})
    stop, answers = threading.Event(), Counter[tuple[int, bytes]]()

    def load() -> None:
        while not stop.is_set():
            answers[ml.ask("busy")[:2]] += 1

    thread = threading.Thread(target=load)
    thread.start()
    ml.deployment("busy", "blue", echo, capacity=2, **version("2"))
    before = answers[200, b"2"]
    wait(lambda: True if answers[200, b"2"] > before + 3 else None)
    ml.deployment("busy", "blue", echo, capacity=1, **version("2"))
    stop.set()
    thread.join()
    assert set(answers) == {(200, b"1"), (200, b"2")}


def test_what_is_deleted_ends(ml: Ml, echo: str) -> None:
    ml.endpoint("short")
    ml.deployment("short", "blue", echo)
    key = f"{ml.id}/onlineEndpoints/short".lower()
    assert ml.running.deployments.fleet.busy(key)
    ml.arm.delete(f"{ml.id}/onlineEndpoints/short", VERSION)
    wait(lambda: None if ml.running.deployments.fleet.busy(key) else True)


SERVE = """
import http.server
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header("Content-Length", "0"); self.end_headers()
    def log_message(self, *args): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), H).serve_forever()
"""
HANG = SERVE.replace("    def log", "    def do_POST(self):\n        import time; time.sleep(30)\n    def log")
QUICK = {"maxConcurrentRequestsPerInstance": 1, "requestTimeout": "PT0.5S"}


def code(text: str) -> dict[str, Any]:
    return {"environmentVariables": {"CODE": "import os\n" + text}}


def logs(ml: Ml, endpoint: str, deployment: str, container: str = "InferenceServer") -> str:
    path = f"{ml.id}/onlineEndpoints/{endpoint}/deployments/{deployment}/getLogs"
    return ml.arm.call("POST", path, VERSION, {"containerType": container, "tail": 100}).body["content"]


def failure_of(ml: Ml, endpoint: str, deployment: str) -> str:
    return ml.found(f"/onlineEndpoints/{endpoint}/deployments/{deployment}")["_failure"]["message"]


def requests_of(ml: Ml, endpoint: str, deployment: str) -> list[ScoredRequest]:
    with ml.twin.lock:
        found = ml.running.meter.since(f"{ml.id}/onlineEndpoints/{endpoint}", 0, time.time() + 1)
    return [each for each in found if each.deployment == deployment]


def status_of(asked: Future[tuple[int, bytes, Mapping[str, str]]]) -> int:
    """0: it broke off."""
    try:
        return asked.result()[0]
    except (OSError, http.client.HTTPException):
        return 0
