"""Deployments and jobs of Azure's twin whose image was pushed to its registry and runs in Docker."""

import os
from collections.abc import Iterator
from unittest import mock

import pytest

from llmops_kit.local_runtime import job_containers
from llmops_twins.azure.entra import principals
from llmops_twins.azure.registry import tokens
from tests.containers.conftest import docker
from tests.support.checkout import CHECKOUT
from twins.tests.support.azure_hosts import LOCATION
from twins.tests.support.azure_ml import Ml, running_ml

pytestmark = pytest.mark.docker
SERVER = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        model = os.environ["AZUREML_MODEL_DIR"]
        body = f"{model} {os.listdir(model)} {os.access(model, os.W_OK) and not os.getuid() == 0}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer(("0.0.0.0", 5001), Handler).serve_forever()
"""


@pytest.fixture(scope="module")
def ml(tmp_path_factory: pytest.TempPathFactory, base: str) -> Iterator[Ml]:
    folder = tmp_path_factory.mktemp("docker")
    with running_ml(tmp_path_factory.mktemp("twin")) as made, mock.patch.dict(os.environ, DOCKER_CONFIG=str(folder)):
        image = pushed(made, base)
        made.put("/environments/job/versions/1", {"properties": {"image": image}})
        routes = {f"{each}Route": {"path": "/", "port": 5001} for each in ("liveness", "readiness", "scoring")}
        made.put("/environments/server/versions/1", {"properties": {"image": image, "inferenceConfig": routes}})
        made.cluster("cpu")
        yield made
    label = f"label=llmops.jobs={job_containers.home_id(made.twin.home)}"
    assert docker("ps", "--all", "--quiet", "--filter", label) == ""
    assert docker("network", "ls", "--quiet", "--filter", label) == ""


def pushed(ml: Ml, base: str) -> str:
    """A program's image in a registry of the twin."""
    path = f"{ml.group}/providers/Microsoft.ContainerRegistry/registries/kitimages"
    ml.arm.put(path, "2023-07-01", {"location": LOCATION, "sku": {"name": "Basic"}})
    document = ml.twin.find(path)
    assert document
    host = document["properties"]["loginServer"]
    lines = [f"FROM {base}", "COPY job.py /job.py", 'ENTRYPOINT ["python3", "-u", "/job.py"]']
    folder = CHECKOUT / "tests/containers/local_runtime"
    name = f"{host}/kit/program:1"
    docker("build", "--quiet", "--tag", name, "--file", "-", str(folder), stdin="\n".join(lines))
    password = tokens.refresh_token(ml.twin, document, principals.OWNER)
    docker("login", "--username", tokens.TOKEN_USER, "--password-stdin", host, stdin=password)
    docker("push", name)
    docker("rmi", "--force", name)
    ml.allow("AcrPull", path)
    return name


def test_a_container_serves_on_its_own_port_with_its_model(ml: Ml) -> None:
    ml.write("store", models__abc__weights="w")
    ml.put("/models/chat/versions/1", {"properties": {"modelUri": "azureml://datastores/store/paths/models/abc"}})
    ml.endpoint("chat")
    environment = f"{ml.id}/environments/server/versions/1"
    settings = {"model": f"{ml.id}/models/chat/versions/1", "environmentVariables": {"CODE": SERVER}}
    found = ml.deployment("chat", "blue", environment, **settings)
    assert found["properties"]["provisioningState"] == "Succeeded", ml.found("/onlineEndpoints/chat/deployments/blue")
    ml.endpoint("chat", traffic={"blue": 100})
    assert ml.ask("chat", "/any", None)[1] == b"/var/azureml-app/azureml-models/chat/1 ['abc'] False"


def test_nodes_find_each_other_and_share_what_is_mounted(ml: Ml) -> None:
    ml.write("store", rows__a="1")
    ml.write("work", runs__docker__old="o")
    code = """
rows, kept = Path(os.environ["AZURE_ML_INPUT_rows"]), Path(os.environ["AZURE_ML_OUTPUT_kept"])
rank, address = os.environ["RANK"], (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
print("sees", os.listdir(rows), sorted(os.listdir(kept)))
try:
    (rows / "b").write_text("x")
except OSError:
    print("read-only")
if rank == "0":
    with socket.create_server(address) as server:
        print("heard", server.accept()[0].recv(9), (kept / "from-1").read_text())
else:
    (kept / "from-1").write_text("me")
    while True:
        try:
            socket.create_connection(address).sendall(b"me")
            break
        except OSError:
            time.sleep(0.1)
"""
    rows = {"jobInputType": "uri_folder", "uri": "azureml://datastores/store/paths/rows/", "mode": "ReadOnlyMount"}
    uri = "azureml://datastores/work/paths/runs/docker/"
    name = ml.begin(
        "pair",
        f"{ml.id}/environments/job/versions/1",
        "ls ${{inputs.rows}} ${{outputs.kept}} && python3 -u /job.py",
        environmentVariables={"CODE": code},
        inputs={"rows": rows},
        outputs={"kept": {"jobOutputType": "uri_folder", "uri": uri, "mode": "ReadWriteMount"}},
        resources={"instanceCount": 2},
        distribution={"distributionType": "PyTorch"},
    )
    assert ml.until(name) == "Completed", ml.details(name)["error"]
    said = ml.log(name, "user_logs/std_log_process_00.txt")
    assert "sees ['a']" in said
    assert "read-only" in said
    assert "heard b'me' me" in said
    assert ml.read("work", "runs/docker") == {"old": "o", "from-1": "me"}
