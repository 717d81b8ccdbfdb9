"""What `llmops serve` refuses before it starts anything, and what it leaves behind."""

import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from typer.testing import CliRunner

from llmops_kit.cli.cli import app
from llmops_kit.cli.evaluation.models import stored_model
from llmops_kit.cli.local_server import _version, name_of, serve, temporary_home
from llmops_kit.cli.platforms.local.platform import LocalPlatform
from llmops_kit.core.engines.records import EngineChoice
from llmops_kit.core.errors import KitError
from llmops_kit.core.layout import cache_dir
from tests.support.tiny_models.versions import write_version

Refused = Callable[..., KitError]


@pytest.fixture
def refused(tmp_path: Path) -> Refused:
    def run(*arguments: str) -> KitError:
        found = CliRunner().invoke(app, ["--cwd", str(tmp_path), "serve", *arguments]).exception
        assert isinstance(found, KitError)
        return found

    return run


def test_what_is_no_model_is_refused_by_its_path(tmp_path: Path, refused: Refused) -> None:
    missing = refused("./nothing")
    assert (missing.where, missing.exit_code) == (str(tmp_path / "nothing"), 4)
    (tmp_path / "empty").mkdir()
    empty = refused("empty")
    assert (empty.where, empty.what) == (str(tmp_path / "empty"), "holds no config.json, so it is not a model")
    assert refused("chatbot@3").what == "no Pulumi.yaml here or in a folder above"  # a version is a stack's


def test_a_taken_port_is_refused_before_anything_is_built(refused: Refused) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        error = refused("./nothing", "--port", str(port))
    assert error.what.startswith(f"port {port} is taken by ")
    assert error.where == "--port"


def start(
    models: list, home: Path, platform: LocalPlatform | None = None, engine: EngineChoice = "openvino"
) -> KitError:
    key = platform.outputs.signing.public_key if platform else ""
    with pytest.raises(KitError) as error:
        serve(models, home, engine=engine, port=0, public_key=key, environ={}, say=lambda _: None)
    return error.value


def test_weights_beyond_the_memory_and_a_missing_form_are_refused(
    tmp_path: Path, platform: LocalPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_version(tmp_path / "version", "chatbot", "w", True, "", openvino=False)
    stored = stored_model(platform, platform.store().put_model(tmp_path / "version", platform.sign))
    form = start([stored], tmp_path, platform)
    assert (form.what, form.where) == ("chatbot@1 has no OpenVINO form, which processors serve", "--engine")
    key = platform.outputs.signing.public_key
    version = _version(stored, 0, tmp_path, "serving-torch", key, lambda _: None)
    assert (version.folder, version.model, version.sha256) == (
        platform.store().model_folder(stored.sha256),
        "chatbot@1",
        stored.sha256,
    )
    assert version.public_key_file.read_text() == key
    (tmp_path / "big").mkdir()
    with (tmp_path / "big" / "model.safetensors").open("wb") as file:
        file.truncate(3_000_000_000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=2_000_000_000))
    big = start([tmp_path / "big"], tmp_path)
    assert (big.what, big.where) == ("the weights take 3.0 GB, and 2.0 GB of memory are free", "big")


def test_names_of_folders_are_names_of_versions() -> None:
    names = [name_of(Path(f"/models/{text}")) for text in ("SmolLM2-135M-Instruct", "8b", "A" * 40, "__")]
    assert names == ["smollm2-135m-instruct", "model-8b", "a" * 32, "model"]


def test_a_home_goes_with_its_serve_and_those_of_killed_ones_with_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMOPS_CACHE", str(tmp_path))
    killed = cache_dir() / "serve" / "killed"
    (killed / "hosting").mkdir(parents=True)
    with temporary_home() as first:
        assert not killed.exists()
        with temporary_home() as second:
            assert first.exists()  # it is in use
        assert not second.exists()
    assert not first.exists()
