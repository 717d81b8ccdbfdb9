"""References of process images, and the environment of their processes. Building: tests/emulated/local_runtime."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from llmops_kit.core.errors import HostingError
from llmops_kit.core.layout import EXPORT_VARIABLE
from llmops_kit.core.programs import package_folder
from llmops_kit.local_runtime.process_images import (
    ImageSource,
    ProcessImage,
    build,
    dockerfile_of,
    find,
    process_environ,
    reference,
)

IMAGES = [
    ("training", "training", "Dockerfile"),
    ("training-tensorflow", "training", "Dockerfile.tensorflow"),
    ("serving", "serving", "Dockerfile"),
    ("serving-torch", "serving", "Dockerfile"),
    ("serving-vllm", "serving", "Dockerfile.vllm"),
]


@pytest.fixture
def source(tmp_path: Path) -> ImageSource:
    package = tmp_path / "somewhere" / "thing"
    (package / "data").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "data" / "page.html").write_text("<p>")
    (tmp_path / "thing.txt").write_text("aiohttp==3\n")
    return ImageSource("thing", tmp_path / "thing.txt", {"thing": package})


def test_a_reference_names_the_content_and_nothing_else(source: ImageSource, tmp_path: Path) -> None:
    ref = reference(source)
    assert ref.startswith("process:thing@sha256:")
    package = source.packages["thing"]
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "x.pyc").write_bytes(b"x")
    (package / ".page.swp").write_text("x")
    (package / "__init__.py").touch()
    moved = package.rename(tmp_path / "moved")
    assert reference(ImageSource("thing", source.requirements, {"thing": moved})) == ref


@pytest.mark.parametrize("file", ["thing.txt", "somewhere/thing/__init__.py", "somewhere/thing/data/page.html"])
def test_any_changed_file_changes_the_reference(source: ImageSource, tmp_path: Path, file: str) -> None:
    before = reference(source)
    with (tmp_path / file).open("a") as f:
        f.write("\n")
    assert reference(source) != before


def test_the_kits_images_carry_the_contract_and_their_own_package() -> None:
    for name, package, dockerfile in IMAGES:
        files = ImageSource.of_kit(name).files()
        assert {
            "app/llmops_kit/core/layout.py",
            f"app/llmops_kit/{package}/__main__.py",
            "requirements.txt",
        } <= files.keys()
        assert dockerfile_of(name, files) == f"llmops_kit/{package}/{dockerfile}"
        assert {f.split("/")[2] for f in files if f.startswith("app/")} == {"core", package}
        assert ("export.txt" in files) is (name == "training")
    assert reference("serving") != reference("serving-torch")


@pytest.mark.parametrize("name", [*(name for name, *_ in IMAGES), "preparation", "preparation-ray"])
def test_what_an_image_runs_is_in_it(name: str) -> None:
    image = ImageSource.of_kit(name)
    assert f"app/{image.program.replace('.', '/')}/__main__.py" in image.files()


def test_unknown_images_and_references_say_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMOPS_CACHE", str(tmp_path))
    with pytest.raises(
        HostingError, match=r"no image 'trainer'(?s:.*)choose one of training, training-tensorflow, serving"
    ):
        build("trainer")
    with pytest.raises(HostingError, match="not the reference of a process image"):
        find("docker:serving@sha256:" + "0" * 64)
    with pytest.raises(HostingError, match=r"not built on this machine(?s:.*)fix: `llmops up` builds"):
        find("process:serving@sha256:" + "0" * 64)


def test_a_process_gets_nothing_of_its_starter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    image = ProcessImage("process:x@sha256:…", Path("/venv/bin/python"), Path("/images/x/app"), "x")
    environ = process_environ(image, tmp_path / "root", 8123, {"LLMOPS_AUTH": "key", "LANG": "de_DE"})
    assert environ["LLMOPS_ROOT"] == str(tmp_path / "root")
    assert environ["SAGEMAKER_BIND_TO_PORT"] == "8123"
    assert environ["PYTHONPATH"] == "/images/x/app"
    assert environ["LLMOPS_AUTH"] == "key"
    assert environ["LANG"] == "de_DE"
    assert Path(environ["HOME"]).is_dir()
    assert "secret" not in environ.values()
    assert {"SAGEMAKER_BIND_TO_PORT", EXPORT_VARIABLE}.isdisjoint(process_environ(image, tmp_path / "job"))
    two = replace(image, export=Path("/export/bin/python"))
    assert process_environ(two, tmp_path / "job")[EXPORT_VARIABLE] == "/export/bin/python"


@pytest.mark.parametrize("chosen", ["", "-1", "1,2"])
def test_a_process_gets_the_gpus_of_its_starter(chosen: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = ProcessImage("process:x@sha256:…", Path("/venv/bin/python"), Path("/images/x/app"), "x")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert "CUDA_VISIBLE_DEVICES" not in process_environ(image, tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    assert process_environ(image, tmp_path)["CUDA_VISIBLE_DEVICES"] == chosen


def test_the_entrypoint_is_the_dockerfiles() -> None:
    for name, package, dockerfile in IMAGES:
        image = ProcessImage(reference(name), Path("python"), Path("app"), ImageSource.of_kit(name).program)
        written = (package_folder(package) / dockerfile).read_text()
        assert f"ENTRYPOINT {json.dumps(image.entrypoint)}" in written
