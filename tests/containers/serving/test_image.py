"""The serving image as SageMaker runs it: its user, its folders, its limits, its end."""

import http.client
import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from llmops_kit.local_runtime import process_images
from llmops_kit.local_runtime.ports import choose_port
from tests.containers.conftest import docker
from tests.support.servers.serving import sign_version, until
from tests.support.tiny_models.models import copy_model, tiny_model

pytestmark = pytest.mark.docker
# SageMaker authenticates callers itself; the rest is what the kit's stacks set.
VARIABLES = {
    "LLMOPS_AUTH": "platform",
    "LLMOPS_PLATFORM": "sagemaker",
    "LLMOPS_MODEL_NAME": "tiny@1",
    "LLMOPS_PRECISION": "f32",
    "LLMOPS_THREADS": "1",
}
QUESTION = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 12, "temperature": 0}


@pytest.fixture(scope="module")
def variables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A container's variables for the tiny model, which lies in `model` beside them."""
    folder = tmp_path_factory.mktemp("version")
    identity = sign_version(copy_model(tiny_model(), folder / "model"), folder)
    public_key = (folder / "signing.pub").read_text()
    return VARIABLES | {"LLMOPS_MODEL_SHA256": identity, "LLMOPS_PUBLIC_KEY": public_key, "folder": str(folder)}


def ask(port: int, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request(method, path, json.dumps(body) if body else None, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        content = answer.read()
        return answer.status, json.loads(content) if content else None


def pings(port: int) -> bool:
    try:
        return ask(port, "GET", "/ping")[0] == 200
    except (OSError, http.client.HTTPException):
        return False


def runs(container: str) -> bool:
    return docker("inspect", "--format", "{{.State.Running}}", container) == "true"


def all_output(container: str) -> str:
    done = subprocess.run(["docker", "logs", container], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.stdout


def answer_of(port: int) -> str:
    status, body = ask(port, "POST", "/invocations", QUESTION)
    assert status == 200, body
    return body["choices"][0]["message"]["content"]


@contextmanager
def process(variables: dict[str, str], root: Path, port: int) -> Iterator[None]:
    """The image as a process, as `--runtime process` has it."""
    image = process_images.find(process_images.build("serving"))
    (root / "opt/ml").mkdir(parents=True)
    (root / "opt/ml/model").symlink_to(Path(variables["folder"]) / "model")
    extra = {"LLMOPS_BIND": "127.0.0.1", **{k: v for k, v in variables.items() if k != "folder"}}
    environ = process_images.process_environ(image, root, port, extra)
    argv = [str(image.python), *image.entrypoint[1:], "serve"]
    started = subprocess.Popen(argv, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: pings(port) or started.poll() is not None, 90)
        yield
    finally:
        started.terminate()
        started.wait(60)


@pytest.fixture
def container(built: Callable[[str], str], variables: dict[str, str]) -> Iterator[str]:
    """`docker run IMAGE serve`, with a root that can't be written, and nothing but its model and /tmp."""
    model = Path(variables["folder"]) / "model"
    for path in (model, *model.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    options = ["--detach", "--read-only", "--tmpfs", "/tmp", "--memory", "2g", "--pids-limit", "512"]
    options += ["--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--publish", "127.0.0.1::8080"]
    options += ["--mount", f"type=bind,source={model},target=/opt/ml/model,readonly"]
    for name, value in variables.items():
        options += ["--env", f"{name}={value}"] if name != "folder" else []
    name = docker("run", *options, built("serving"), "serve")
    yield name
    docker("rm", "--force", name)


@pytest.mark.scorecard("non-root-digests")
def test_it_serves_as_its_own_user_what_the_process_serves_and_ends_when_told(
    container: str, variables: dict[str, str], tmp_path: Path
) -> None:
    port = int(docker("port", container, "8080").rpartition(":")[2])
    until(lambda: pings(port) or not runs(container), 90)
    assert runs(container), all_output(container)
    text = answer_of(port)
    assert docker("exec", container, "id", "-u") == "10001"
    assert docker("exec", container, "cat", "/proc/1/comm").startswith("python")
    # The engine's process is a child of the first one, which is told alone.
    docker("kill", "--signal", "TERM", container)
    assert docker("wait", container) == "0"
    beside = choose_port("127.0.0.1")
    with process(variables, tmp_path / "root", beside):
        assert answer_of(beside) == text


def test_a_root_that_can_be_written_is_left_as_it_was(built: Callable[[str], str]) -> None:
    name = docker("create", built("serving"), "nonsense")
    try:
        docker("start", "--attach", name, code=1)
        assert "unknown arguments ['nonsense']" in all_output(name)
        assert docker("diff", name) == ""
    finally:
        docker("rm", "--force", name)
