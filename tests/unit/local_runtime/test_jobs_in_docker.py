"""The command lines of containers of jobs and endpoints: what they may do on this machine. Docker is not asked."""

import os
from pathlib import Path

import psutil
import pytest

from llmops_kit.local_runtime import containers, job_containers, runtimes
from llmops_kit.local_runtime.job_containers import JobSpec
from llmops_kit.local_runtime.spec import EndpointSpec

ID = "sha256:" + "a" * 64


@pytest.fixture(autouse=True)
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program of that name: nobody runs it."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/docker").touch(mode=0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")


def value(argv: list[str], option: str) -> list[str]:
    return [argv[i + 1] for i, word in enumerate(argv) if word == option]


def require_limits(argv: list[str], *given_back: str) -> None:
    options = argv[: next(i for i, word in enumerate(argv) if word == ID or word.startswith("localhost:1/"))]
    assert value(options, "--cap-drop") == ["ALL"]
    assert value(options, "--cap-add") == list(given_back)
    assert value(options, "--security-opt") == ["no-new-privileges"]
    assert value(options, "--pids-limit") == [str(containers.PIDS)]
    [memory] = value(options, "--memory")
    assert value(options, "--memory-swap") == [memory]
    assert 0 < int(memory) < psutil.virtual_memory().total
    assert not {"--privileged", "--device", "--pid", "--ipc", "--userns", "--volume", "-v"} & set(options)


@pytest.mark.vulnerability(14)
def test_vulnerability_14_a_job_has_no_rights_but_to_change_its_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had Docker's default capabilities, and as many processes and as much memory as it liked."""
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    root = tmp_path / "root"
    for folder in ("opt/ml/model", "opt/ml/input/data/train"):
        (root / folder).mkdir(parents=True)
        (root / folder / "file").write_text("x")
    read_only = ("/opt/ml/input/data/train",)
    spec = JobSpec("job", f"docker:job@{ID}", tmp_path, root, read_only=read_only, network="none")
    document = job_containers._container(spec)
    require_limits(document["argv"], *containers.BEGINS_AS_ROOT)
    assert "--read-only" not in document["argv"]  # an image may write where it likes, as on SageMaker
    assert value(document["argv"], "--network") == ["none"]
    _, last = document["after"]
    require_limits(last, "CHOWN", "DAC_OVERRIDE")
    assert value(last, "--network") == ["none"]
    assert last[-4:] == [ID, "-R", f"1000:{os.getgid()}", "/opt/ml"]
    modes = [oct((root / path / "file").stat().st_mode)[-3:] for path in ("opt/ml/model", "opt/ml/input/data/train")]
    assert modes == ["666", "644"]


@pytest.mark.vulnerability(14)
@pytest.mark.parametrize("image", [f"docker:serving@{ID}", f"docker:localhost:1/kit/serving@{ID}"])
def test_vulnerability_14_an_endpoint_has_no_rights(tmp_path: Path, image: str) -> None:
    (tmp_path / "model").mkdir()
    spec = EndpointSpec(name="chat", image=image, folders={"/opt/ml/model": str(tmp_path / "model")})
    argv = list(runtimes.program(spec, "chat-1", tmp_path, tmp_path / "root", 1, "log").argv)
    local = "/" not in runtimes.docker_name(image)
    require_limits(argv, *(() if local else containers.BEGINS_AS_ROOT))
    assert ("--read-only" in argv, "--user" in argv) == (local, local)
    assert value(argv, "--publish") == ["127.0.0.1:1:8080"]
    assert value(argv, "--mount")[0].endswith(",readonly")


@pytest.mark.parametrize("image", [f"docker:serving@{ID}", f"docker:localhost:1/kit/serving@{ID}"])
def test_the_kits_images_alone_get_the_folder_of_the_hand_over(tmp_path: Path, image: str) -> None:
    spec, root = EndpointSpec(name="chat", image=image), tmp_path / "root"
    argv = list(runtimes.program(spec, "chat-1", tmp_path, root, 1, "log", handover=True).argv)
    given = "localhost" not in image
    assert value(argv, "--mount") == [f"type=bind,source={root / 'handover'},target=/run/llmops-handover"] * given
    named = "LLMOPS_HANDOVER_SOCKET=/run/llmops-handover/http.sock"
    assert (named in (root / "environ").read_text()) == given
    assert (root / "handover").stat().st_mode & 0o777 == 0o700
