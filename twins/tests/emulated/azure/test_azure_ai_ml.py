"""azure-ai-ml, unmodified, in an environment of its own, TLS verified: jobs, models, endpoints, invocations, logs."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError
from azure.identity import DefaultAzureCredential
from azure.storage.blob import BlobServiceClient

from llmops_kit.local_runtime.process_images import build
from llmops_twins.azure import control
from tests.support.checkout import CHECKOUT
from tests.support.environments import AZURE_AI_ML, environment
from tests.support.servers.echo import echo_source
from tests.support.servers.serving import until
from twins.tests.emulated.azure.processes import IDENTITY, LOCATION, make_workspace, running

# The client prints logs of what it has seen running, and nothing of a job that had ended before.
_COMMAND = "sleep 8; cat ${{inputs.spec}}/spec.txt && cp ${{inputs.spec}}/spec.txt ${{outputs.model}}/model.txt"
SCRIPT = Path(__file__).with_name("ml_client.py")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What the script came to on a twin with a workspace."""
    home = tmp_path_factory.mktemp("twin")
    image = build(echo_source(tmp_path_factory.mktemp("echo")))
    try:
        with running(home, pace=0.2) as arm:
            made = make_workspace(arm, image)
            _upload(made["blobs"])
        told = {
            "ML_GROUP": "kit",
            "ML_WORKSPACE": "kit-ml",
            "ML_IDENTITY": IDENTITY,
            "ML_CLIENT_ID": made["client_id"],
            "ML_COMMAND": _COMMAND,
            "ML_VARIABLES": json.dumps({"SAYS": "to the log"}),
        }
        yield _run(home, {name: value for name, value in control.environment(home).items() if value} | told)
    finally:
        control.reset(home)
        control.down(home)


def _run(home: Path, variables: dict[str, str]) -> dict[str, Any]:
    python = environment("azure-ai-ml", AZURE_AI_ML) / "bin" / "python"
    own = {"PATH": os.environ["PATH"], "HOME": str(home)}
    command = [str(python), str(SCRIPT), str(home)]
    ran = subprocess.run(command, env=own | variables, text=True, capture_output=True, timeout=300)
    assert ran.returncode == 0, ran.stderr[-4000:]
    return {**json.loads((home / "done.json").read_text()), "said": ran.stdout}


def _upload(url: str) -> None:
    """What the job and the model read, as soon as the role is of use."""
    with DefaultAzureCredential() as credential, BlobServiceClient(url, credential) as blobs:
        container = blobs.get_container_client("store")
        until(lambda: _is_uploaded(container, "spec/spec.txt", b"what to do\n"))
        assert _is_uploaded(container, "models/a/model.txt", b"a model")


def _is_uploaded(container: Any, name: str, content: bytes) -> bool:
    try:
        container.upload_blob(name, content, overwrite=True)
    except HttpResponseError as e:
        if e.status_code != 403:
            raise
        return False
    return True


def test_the_schemas_are_what_the_sdks_models_compile_to(tmp_path: Path) -> None:
    python = environment("azure-ai-ml", AZURE_AI_ML) / "bin" / "python"
    compiling = [python, "-m", "tools.azure_schemas.machinelearning", tmp_path / "compiled.json"]
    subprocess.run(compiling, cwd=CHECKOUT, check=True, timeout=120)

    committed = CHECKOUT / "twins/llmops_twins/azure/ml/machinelearningservices.json"
    assert (tmp_path / "compiled.json").read_text() == committed.read_text()


def test_a_workspace_and_what_it_has(done: dict[str, Any]) -> None:
    assert done["workspace"] == {
        "location": LOCATION,
        "tags": {"team": "a"},
        "default_datastore": "workspaceblobstore",
        "created": "Succeeded",
        "computes": ["cpu", "second"],
        "sizes": True,
        "usage": 350,
    }


def test_models_and_environments_by_version(done: dict[str, Any]) -> None:
    found = done["models"]
    assert found["path"].endswith("/datastores/store/paths/models/a")
    assert (found["latest"], found["versions"], found["environment"]) == ("1", ["1"], "mcr.microsoft.com/other:1")
    assert "modelUri of version 1 of models can't be changed" in found["refused"]


def test_a_job_runs_and_its_log_is_followed(done: dict[str, Any]) -> None:
    found = done["jobs"]
    assert (found["ended"], found["listed"], found["tags"]) == ("Completed", ["run-1"], {"kept": "yes"})
    assert "what to do" in done["said"]
    assert "is Completed already" in found["refused"]


def test_an_endpoint_answers_what_it_was_asked(done: dict[str, Any]) -> None:
    found = done["endpoints"]
    assert (found["state"], found["deployed"], found["traffic"]) == ("Succeeded", "Succeeded", {"chat-a": 100})
    assert json.loads(found["answer"]) == json.loads(found["named"]) == {"hello": "azure"}
    assert "to the log" in found["logs"]
    assert found["key"]


def test_what_has_traffic_stays_until_its_endpoint_goes(done: dict[str, Any]) -> None:
    assert "has 100% of live traffic" in done["endpoints"]["refused"]
    assert (done["endpoints"]["deployments"], done["endpoints"]["left"]) == (["chat-a"], [])
