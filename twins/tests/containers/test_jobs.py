"""Training jobs of the twin of AWS whose image was pushed to its registry and runs in Docker."""

import base64
import os
import subprocess
from collections.abc import Callable, Iterator

import pytest

from llmops_kit.local_runtime import job_containers
from llmops_twins.aws import control
from tests.containers.conftest import docker
from tests.support.checkout import CHECKOUT
from twins.tests.support.aws import RunningTwin, made_role, running_twin
from twins.tests.support.aws_jobs import WORK, begin, ended, keys, log_lines, prepare, until_said

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningTwin]:
    home = tmp_path_factory.mktemp("aws") / "twin"
    with running_twin(home, pace=0.1, containers="run") as found:
        prepare(found)
        yield found
        control.reset(home)


@pytest.fixture(scope="module")
def image(twin: RunningTwin, base: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A program's image in the twin's registry, by its digest."""
    # With a label, as a test of hosting makes and removes the same image.
    lines = [f"FROM {base}", "LABEL of=twins", "COPY job.py /job.py", 'ENTRYPOINT ["python3", "-u", "/job.py"]']
    folder = CHECKOUT / "tests/containers/local_runtime"
    made = docker("build", "--quiet", "--file", "-", str(folder), stdin="\n".join(lines))
    ecr = twin.client("ecr")
    ecr.create_repository(repositoryName="job")
    (given,) = ecr.get_authorization_token()["authorizationData"]
    user, _, password = base64.b64decode(given["authorizationToken"]).decode().partition(":")
    registry = given["proxyEndpoint"].rpartition("/")[2]
    environ = os.environ | {"DOCKER_CONFIG": str(tmp_path_factory.mktemp("docker"))}
    name = f"{registry}/job:1"
    for command in (["login", "--username", user, "--password-stdin", registry], ["tag", made, name], ["push", name]):
        subprocess.run(["docker", *command], input=password, text=True, env=environ, check=True, capture_output=True)
    (found,) = ecr.describe_images(repositoryName="job")["imageDetails"]
    yield f"000000000000.dkr.ecr.us-east-1.amazonaws.com/job@{found['imageDigest']}"
    docker("rmi", "--force", name, made)


@pytest.fixture
def run(twin: RunningTwin, image: str) -> Iterator[Callable[..., str]]:
    role = made_role(twin, f"training-{os.urandom(3).hex()}")

    def start(name: str, code: str, **more: object) -> str:
        algorithm = {"TrainingImage": image}
        return begin(twin, role, name, "", algorithm=algorithm, Environment={"CODE": code}, **more)

    yield start
    label = f"label=llmops.jobs={job_containers.home_id(twin.home)}"
    assert docker("ps", "--all", "--quiet", "--filter", label) == ""
    assert docker("network", "ls", "--quiet", "--filter", label) == ""


def test_a_job_without_a_network(twin: RunningTwin, run: Callable[..., str]) -> None:
    code = """
print(sys.argv[1:], [name for _, name in socket.if_nameindex()], os.environ["TRAINING_JOB_NAME"])
print(Path("/opt/ml/input/data/train/a.jsonl").read_text(), Path("/opt/ml/input/config/hyperparameters.json").exists())
Path("/opt/ml/model/weights").write_text("w")
os.chmod("/opt/ml/model", 0o700)
os.chown("/opt/ml/model", 4321, 4321)
Path("/mnt/kept/step").write_text("1")
"""
    place = {"S3Uri": f"s3://{WORK}/checkpoints/docker", "LocalPath": "/mnt/kept"}
    job = ended(twin, run("alone", code, EnableNetworkIsolation=True, CheckpointConfig=place))
    assert job["TrainingJobStatus"] == "Completed", (job.get("FailureReason"), log_lines(twin, "alone"))
    assert log_lines(twin, "alone") == ["['train'] ['lo'] alone", "1", " True"]
    assert keys(twin, "out/alone/output/model/") == ["weights"]
    assert keys(twin, "checkpoints/docker/") == ["step"]


def test_two_that_find_each_other_are_stopped(twin: RunningTwin, run: Callable[..., str]) -> None:
    code = """
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
if socket.gethostname() == "algo-1":
    with socket.create_server(("algo-1", 9)) as server:
        print("heard", server.accept()[0].recv(9))
else:
    for _ in range(300):
        try:
            socket.create_connection(("algo-1", 9)).sendall(b"me")
            break
        except OSError:
            time.sleep(0.1)
time.sleep(300)
"""
    two = {"InstanceType": "ml.m5.xlarge", "InstanceCount": 2, "VolumeSizeInGB": 30}
    run("pair", code, ResourceConfig=two)
    until_said(twin, "pair", "heard b'me'")
    twin.client("sagemaker").stop_training_job(TrainingJobName="pair")
    job = ended(twin, "pair")
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "Stopped")
